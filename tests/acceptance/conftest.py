"""Fixtures: a real Redis, a real worker process and the real service under gunicorn, used over HTTP."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.redis_users import running_redis_with_users, service_environ, worker_url
from support.servers import RedisServer, running_service, running_worker, wait_until

Task = dict[str, Any]


class Service:
    """A client of the service, like one that a user would write."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session = requests.Session()

    def post(self, name: str, **submission: Any) -> requests.Response:
        return self.session.post(f"{self.url}/tasks", json={"name": name, **submission}, timeout=10)

    def submit(self, name: str, **kwargs: Any) -> str:
        """Submit a task with these arguments; return its id."""
        response = self.post(name, kwargs=kwargs)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def read(self, task_id: str) -> Task:
        response = self.session.get(f"{self.url}/tasks/{task_id}", timeout=10)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def wait(self, task_id: str, holds: Callable[[Task], object] = lambda task: task["done"]) -> Task:
        """Read a task until `holds` is true of it, by default until it is done; return it."""
        seen: Task = {}

        def look() -> object:
            seen.update(self.read(task_id))
            return holds(seen)

        wait_until(look, what=f"task {task_id}: {seen}")
        return seen

    def follow(self, task_id: str) -> list[Task]:
        """Read a task until it is done; return all statuses."""
        seen: list[Task] = []

        def look() -> bool:
            seen.append(self.read(task_id))
            return bool(seen[-1]["done"])

        wait_until(look, what=f"task {task_id}")
        return seen

    def run(self, name: str, **kwargs: Any) -> Task:
        """Submit a task and wait for its end; return it."""
        return self.wait(self.submit(name, **kwargs))


@pytest.fixture(scope="session")
def real_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server that all tests of the session share; no test deletes its data.

    Service and workers run as the users of docs/redis-users.md.
    """
    queues = ["demo", "unread-queue", "plain"]
    with running_redis_with_users(tmp_path_factory.mktemp("redis"), queues=queues) as server:
        yield server


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A durable Redis that the tests of one module may kill and restart."""
    queues = ["demo", "prefork", "threads", "gevent"]
    with running_redis_with_users(tmp_path_factory.mktemp("redis"), queues=queues, durable=True) as server:
        yield server


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for logs."""
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def service(real_redis: RedisServer, folder: Path) -> Iterator[Service]:
    """The service, with a worker that runs the demo tasks."""
    with (
        running_worker(
            "task_status_worker.demo", "--concurrency", "4", redis_url=worker_url(real_redis), folder=folder
        ),
        running_service({**service_environ(real_redis), "TASK_STATUS_QUEUES": "unread-queue"}, folder=folder) as url,
    ):
        service = Service(url)
        wait_until(lambda: service.session.get(f"{url}/readyz", timeout=5).ok, what="ready")
        yield service
        service.session.close()
