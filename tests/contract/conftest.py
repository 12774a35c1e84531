"""A real service, worker and Redis, for the holders of several keys."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests
from servers import running_redis, running_service, wait_until, worker_process
from task_status_service.keyfile import change
from task_status_service.keyring import new_key

from contract.site import OWNERS, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the service and a worker with the demo tasks."""
    folder = tmp_path_factory.mktemp("contract")
    headers: dict[str, dict[str, str]] = {}
    for name, scopes in OWNERS.items():
        key, text = new_key(name, scopes, created_at=datetime.now(UTC))
        change(folder / "keys.json", lambda kept, key=key: kept.with_key(key))
        headers[name] = {"Authorization": f"Bearer {text}"}
    with (
        running_redis(folder) as redis,
        # It is not waited for the tasks that still run at the end.
        worker_process(
            "task_status_worker.demo", "--concurrency=8", redis_url=redis.url, folder=folder, patience_seconds=1
        ),
    ):
        site = Site("", redis, folder, headers)
        with running_service(site.environ(), folder=folder) as url:
            wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
            yield site._replace(url=url)
