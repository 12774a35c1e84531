"""What a client does to a task, with a real worker: submit once, cancel, retry, forget."""

from typing import Any

import pytest
import requests
from support.servers import RedisServer

from acceptance.conftest import Service


def act(service: Service, method: str, path: str, **options: Any) -> requests.Response:
    """Ask for something that is about one task."""
    return service.session.request(method, f"{service.url}/tasks{path}", timeout=10, **options)


def test_submits_once(service: Service) -> None:
    """The same request with the same key is the same task, which runs once."""
    request = {"json": {"name": "demo.add", "args": [2, 3]}, "headers": {"Idempotency-Key": "acceptance-1"}}
    first = act(service, "POST", "", **request)
    task = service.wait(first.json()["id"])
    again = act(service, "POST", "?wait=5", **request)

    assert again.json() == task
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (200, "true")
    assert (task["result"], task["executions"]) == (5, 1)


@pytest.mark.parametrize("terminate", [False, True])
def test_cancels_what_waits(service: Service, terminate: bool) -> None:
    """A task that a worker holds until its time is canceled, and never runs."""
    task_id = service.post("demo.add", args=[2, 3], countdown=3600).json()["id"]
    service.wait(task_id, lambda task: task["received_at"])

    response = act(service, "POST", f"/{task_id}/cancel", json={"terminate": terminate})
    assert (response.status_code, response.json()["cancel_requested"]) == (202, True)

    task = service.wait(task_id)
    assert (task["state"], task["executions"], task["cancel_requested"]) == ("canceled", 0, True)
    again = act(service, "POST", f"/{task_id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "canceled")


def test_cancels_what_runs(service: Service) -> None:
    """With `terminate` a task that runs is ended where it runs."""
    task_id = service.submit("demo.sleep", seconds=60)
    service.wait(task_id, lambda task: task["state"] == "running")

    act(service, "POST", f"/{task_id}/cancel", json={"terminate": True})

    task = service.wait(task_id)
    assert (task["state"], task["failure"]["kind"], task["executions"]) == ("canceled", "canceled", 1)


def test_cancels_nothing_that_is_done(service: Service) -> None:
    """What has succeeded stays so."""
    task_id = service.run("demo.add", x=2, y=3)["id"]

    response = act(service, "POST", f"/{task_id}/cancel")

    assert (response.status_code, response.json()["type"]) == (409, "/problems/task-done")
    assert service.read(task_id)["state"] == "succeeded"


def test_retries(service: Service) -> None:
    """A task that has failed runs once more, as another one with the same arguments."""
    failed = service.run("demo.fail", message="no luck")

    response = act(service, "POST", f"/{failed['id']}/retry")

    assert response.status_code == 202
    task = service.wait(response.json()["id"])
    assert (task["state"], task["failure"]["message"]) == ("failed", "no luck")
    assert task["labels"] == {"retry_of": failed["id"]}
    assert service.read(failed["id"]) == failed


def test_forgets(service: Service, real_redis: RedisServer) -> None:
    """Nothing is left of a task that is forgotten, of Celery's doing or ours."""
    task_id = service.run("demo.add", x=2, y=3)["id"]

    assert act(service, "DELETE", f"/{task_id}").status_code == 204

    assert act(service, "GET", f"/{task_id}").status_code == 404
    with real_redis.client() as client:
        assert client.keys(f"*{task_id}*") == []
