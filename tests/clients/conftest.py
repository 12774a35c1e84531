"""A real service with keys, and a folder in which the commands of openapi/README.md have been run."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import requests
from support.keys import add_key
from support.servers import running_redis, running_service, running_worker, wait_until

from clients.readme import commands, is_nightly
from clients.workspace import INSTALLED, Workspace


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Run the service and a worker with the demo tasks; return the environment of a client with a key."""
    folder: Path = tmp_path_factory.mktemp("service")
    keys = folder / "keys.json"
    key = add_key(keys, "web")
    environ = {"TASK_STATUS_API_KEYS_FILE": str(keys)}
    with (
        running_redis(folder) as redis,
        running_worker("task_status_worker.demo", "--concurrency", "4", redis_url=redis.url, folder=folder),
        running_service({"TASK_STATUS_REDIS_URL": redis.url, **environ}, folder=folder) as url,
    ):
        wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
        yield {"TASK_STATUS_URL": url, "TASK_STATUS_API_KEY": key}


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, service: Mapping[str, str]) -> Workspace:
    """Run the commands of the README in a folder, in their order, except the nightly ones."""
    assert (INSTALLED / ".ready").exists(), "run `make test-clients`, which installs the required packages"
    workspace = Workspace(tmp_path_factory.mktemp("workspace"), service)
    for command in commands():
        if not is_nightly(command):
            workspace.type(command)
    return workspace
