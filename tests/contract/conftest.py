"""A real service, worker and Redis, for the holders of several keys."""

from collections.abc import Iterator

import pytest
import requests
from support.keys import add_key, bearer
from support.servers import running_redis, running_service, wait_until, worker_process

from contract.site import OWNERS, Site


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the service and a worker with the demo tasks."""
    folder = tmp_path_factory.mktemp("contract")
    headers = {name: bearer(add_key(folder / "keys.json", name, scopes)) for name, scopes in OWNERS.items()}
    with (
        running_redis(folder) as redis,
        # The short patience ends tasks that still run after the last test.
        worker_process(
            "task_status_worker.demo", "--concurrency=8", redis_url=redis.url, folder=folder, patience_seconds=1
        ),
    ):
        site = Site("", redis, folder, headers)
        with running_service(site.environ(), folder=folder) as url:
            wait_until(lambda: requests.get(f"{url}/readyz", timeout=5).ok, what="ready")
            yield site._replace(url=url)
