"""Idempotent submission, cancel, retry and deletion of tasks, with a real worker."""

from typing import Any

import pytest
import requests
from support.servers import RedisServer

from acceptance.conftest import Service


def act(service: Service, method: str, path: str, **options: Any) -> requests.Response:
    """Send a request to `/tasks` and below."""
    return service.session.request(method, f"{service.url}/tasks{path}", timeout=10, **options)


def test_repeated_submission_runs_once(service: Service) -> None:
    """A repeated request with the same idempotency key returns the same task, which runs once."""
    request = {"json": {"name": "demo.add", "args": [2, 3]}, "headers": {"Idempotency-Key": "acceptance-1"}}
    first = act(service, "POST", "", **request)
    task = service.wait(first.json()["id"])
    again = act(service, "POST", "?wait=5", **request)

    assert again.json() == task
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (task["result"], task["executions"]) == (5, 1)


@pytest.mark.parametrize("terminate", [False, True])
def test_cancel_of_a_scheduled_task(service: Service, terminate: bool) -> None:
    """A scheduled task that a worker has received is canceled and never runs."""
    task_id = service.post("demo.add", args=[2, 3], countdown=3600).json()["id"]
    service.wait(task_id, lambda task: task["received_at"])

    response = act(service, "POST", f"/{task_id}/cancel", json={"terminate": terminate})
    assert (response.status_code, response.json()["cancel_requested"]) == (202, True)

    task = service.wait(task_id)
    assert (task["state"], task["executions"], task["cancel_requested"]) == ("canceled", 0, True)
    again = act(service, "POST", f"/{task_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "canceled")


def test_terminate_stops_a_running_task(service: Service) -> None:
    """A cancel with `terminate` stops a running task."""
    task_id = service.submit("demo.sleep", seconds=60)
    service.wait(task_id, lambda task: task["state"] == "running")

    act(service, "POST", f"/{task_id}/cancel", json={"terminate": True})

    task = service.wait(task_id)
    assert (task["state"], task["failure"]["kind"], task["executions"]) == ("canceled", "canceled", 1)


def test_done_task_cannot_be_canceled(service: Service) -> None:
    """A cancel of a done task returns 409 and does not change it."""
    task_id = service.run("demo.add", x=2, y=3)["id"]

    response = act(service, "POST", f"/{task_id}/cancel")

    assert (response.status_code, response.json()["type"]) == (409, "/problems/task-done")
    assert service.read(task_id)["state"] == "succeeded"


def test_retry_runs_a_new_task(service: Service) -> None:
    """A retry of a failed task runs a new task with the same arguments."""
    failed = service.run("demo.fail", message="no luck")

    response = act(service, "POST", f"/{failed['id']}/retry")

    assert response.status_code == 202
    task = service.wait(response.json()["id"])
    assert (task["state"], task["failure"]["message"]) == ("failed", "no luck")
    assert task["labels"] == {"retry_of": failed["id"]}
    assert service.read(failed["id"]) == failed


def test_forget_deletes_all_keys(service: Service, real_redis: RedisServer) -> None:
    """Forgetting a task deletes all its keys, Celery's and ours."""
    task_id = service.run("demo.add", x=2, y=3)["id"]

    assert act(service, "DELETE", f"/{task_id}").status_code == 204

    assert act(service, "GET", f"/{task_id}").status_code == 404
    with real_redis.client() as client:
        assert client.keys(f"*{task_id}*") == []
