"""A server whose clock is wrong: times of tasks are computed by the clock of Redis, and the server warns."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from support.servers import running_redis, running_worker, wait_until
from task_status_service.app import create_service
from task_status_service.settings import Settings


@pytest.fixture(
    params=[timedelta(hours=1), timedelta(hours=-1)], ids=["an hour ahead", "an hour behind"], scope="module"
)
def client(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlaskClient]:
    """A client of a service with a wrong clock; Redis and a worker have the right one."""
    folder: Path = tmp_path_factory.mktemp("clock")
    with running_redis(folder) as redis, running_worker("task_status_worker.demo", redis_url=redis.url, folder=folder):
        settings = Settings(broker_url=redis.url, result_url=redis.url, record_url=redis.url)
        service = create_service(settings, now=lambda: datetime.now(UTC) + request.param)
        client = service.app.test_client()
        wait_until(lambda: client.get("/readyz").status_code == 200, what="ready")
        yield client
        service.close()


def test_a_delayed_task_runs_in_time(client: FlaskClient) -> None:
    """A task with a countdown and a deadline neither expires at once, nor waits for an hour."""
    submission = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}, "countdown": 1, "expires": 60}
    submitted = client.post("/tasks", json=submission).get_json()
    for name, seconds in (("scheduled_for", 1), ("expires_at", 60)):
        wanted = datetime.now(UTC) + timedelta(seconds=seconds)
        assert abs((datetime.fromisoformat(submitted[name]) - wanted).total_seconds()) < 10

    path = f"/tasks/{submitted['id']}"
    wait_until(lambda: client.get(path).get_json()["done"], timeout=30, what="the end of the task")

    assert client.get(path).get_json()["result"] == 3


def test_the_difference_is_reported(client: FlaskClient) -> None:
    """/readyz names the difference between the clocks."""
    warnings = client.get("/readyz").get_json()["warnings"]

    assert any("s ahead of the clock of Redis" in text or "s behind the clock of Redis" in text for text in warnings)
