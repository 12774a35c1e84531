"""Every course of a task, one demo task each, over HTTP with a real worker."""

from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from support.servers import RedisServer, wait_until
from task_status_worker.record.codec import FIELDS

from acceptance.conftest import Service


@pytest.fixture
def celery_reader(real_redis: RedisServer) -> Celery:
    """A Celery app that reads the same results."""
    return Celery(backend=real_redis.url, set_as_current=False)


def failure_of(task: dict[str, Any]) -> dict[str, Any]:
    """Check that a task has failed; return its failure."""
    assert (task["state"], task["done"], task["successful"]) == ("failed", True, False), task
    return dict(task["failure"])


def test_add(service: Service) -> None:
    """A task that returns has succeeded; its status has the result and all other fields."""
    task = service.run("demo.add", x=2, y=3)

    assert (task["state"], task["result"], task["successful"]) == ("succeeded", 5, True)
    assert (task["celery_state"], task["name"], task["queue"], task["executions"]) == (
        "SUCCESS",
        "demo.add",
        "demo",
        1,
    )
    assert task["progress"]["percent"] == 100
    assert task["worker"]
    times = [task[name] for name in ("submitted_at", "received_at", "started_at", "finished_at")]
    assert times == sorted(times)
    assert task["diagnostics"] == []


def test_unknown_id_is_not_queued(service: Service) -> None:
    """A waiting task is queued; an unknown id returns 404. Celery reports PENDING for both."""
    waiting = service.read(service.post("demo.add", args=[2, 3], queue="unread-queue").json()["id"])
    unknown = service.session.get(f"{service.url}/tasks/{waiting['id'][::-1]}", timeout=5)

    assert (waiting["state"], waiting["celery_state"], waiting["queue"]) == ("queued", "PENDING", "unread-queue")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/task-not-found")


def test_count(service: Service) -> None:
    """A task that reports `{done, total}` is running, with increasing progress, until it has succeeded."""
    statuses = service.follow(service.submit("demo.count", total=20, interval=0.05))

    running = [status["progress"] for status in statuses if status["celery_state"] == "PROGRESS"]
    percents = [progress["percent"] for progress in running]
    assert {status["state"] for status in statuses} <= {"queued", "running", "succeeded"}
    assert len(set(percents)) > 3
    assert percents == sorted(percents)
    assert all(progress["total"] == 20 and progress["current"] * 5 == progress["percent"] for progress in running)
    assert statuses[-1]["result"] == 20


def test_fail(service: Service) -> None:
    """A failure has the type, message and traceback of the exception."""
    failure = failure_of(service.run("demo.fail", message="no such customer"))

    assert (failure["kind"], failure["type"], failure["message"]) == ("exception", "ValueError", "no such customer")
    assert failure["traceback"].startswith("Traceback (most recent call last)")
    assert failure["traceback"].rstrip().endswith("ValueError: no such customer")


def test_fail_with_details(service: Service, celery_reader: Celery) -> None:
    """The details of a failure reach the client, and Celery can still read the result."""
    details = {"field": "amount", "limit": 100}
    task = service.run("demo.fail_with_details", message="too much", details=details)

    failure = failure_of(task)
    assert (failure["kind"], failure["message"]) == ("exception", "too much")
    assert failure["details"] == {"code": "demo", **details}
    assert str(AsyncResult(task["id"], app=celery_reader).result) == "too much"


def test_raw_failure(service: Service, celery_reader: Celery) -> None:
    """A FAILURE with a custom meta, on which plain Celery raises, can be read by the service and by Celery."""
    task = service.run("demo.raw_failure", custom={"why": "disk full"})

    assert failure_of(task)["details"] == {"custom": {"why": "disk full"}}
    assert AsyncResult(task["id"], app=celery_reader).state == "FAILURE"


def test_raw_failure_fixed(service: Service) -> None:
    """A FAILURE with `exc_type`, traceback lines in `exc_message` and a custom key can be read."""
    failure = failure_of(service.run("demo.raw_failure_fixed", custom=[1, 2]))

    assert (failure["type"], failure["details"]) == ("ValueError", {"custom": [1, 2]})
    assert failure["message"] == "could not convert string to float: 'not a number'"
    assert failure["traceback"].startswith("Traceback (most recent call last)")


def test_poison_then_return(service: Service, celery_reader: Celery) -> None:
    """A task that stores an unreadable FAILURE and then returns has succeeded, with its result."""
    task = service.run("demo.poison_then_return", custom="x")

    assert (task["state"], task["result"]) == ("succeeded", 42)
    assert AsyncResult(task["id"], app=celery_reader).result == 42


def test_custom_final(service: Service) -> None:
    """A task that stores a custom state and raises Ignore is finished and done."""
    task = service.run("demo.custom_final", state="PARTIAL", meta={"rows": 3})

    assert (task["state"], task["done"], task["successful"]) == ("finished", True, None)
    assert (task["celery_state"], task["meta"]) == ("PARTIAL", {"rows": 3})


def test_ignore(service: Service) -> None:
    """A task that raises Ignore and stores nothing is finished; Celery alone leaves it STARTED forever."""
    task = service.run("demo.ignore")

    assert (task["state"], task["celery_state"], task["result"]) == ("finished", "IGNORED", None)


def test_reject(service: Service) -> None:
    """A rejected task has failed: no worker will run it."""
    failure = failure_of(service.run("demo.reject"))

    assert (failure["kind"], failure["message"]) == ("rejected", "the demo rejects it")


def test_reject_with_requeue(service: Service) -> None:
    """A task that is rejected and requeued runs again; `executions` counts both starts."""
    task = service.run("demo.reject", requeue=True)

    assert (task["state"], task["result"], task["executions"]) == ("succeeded", "accepted", 2)


def test_flaky(service: Service) -> None:
    """Between attempts a task is retrying, with the last failure and the time of the next attempt."""
    statuses = service.follow(service.submit("demo.flaky", fail_times=2))

    retrying = [status for status in statuses if status["state"] == "retrying"]
    assert {status["retries"] for status in retrying} >= {0, 1}
    assert all(status["failure"]["type"] == "ConnectionError" for status in retrying)
    assert retrying[0]["failure"]["message"] == "attempt 1 failed"
    assert retrying[0]["next_retry_at"] > retrying[0]["started_at"]
    last = statuses[-1]
    assert (last["state"], last["result"], last["retries"], last["executions"]) == ("succeeded", 3, 2, 3)
    assert (last["failure"], last["next_retry_at"]) == (None, None)


def test_sleep(service: Service) -> None:
    """A task that reports no progress is running too."""
    statuses = service.follow(service.submit("demo.sleep", seconds=0.5))

    assert any((status["state"], status["celery_state"]) == ("running", "STARTED") for status in statuses)
    assert all(status["meta"] is None for status in statuses)
    assert statuses[-1]["result"] == 0.5


def test_revoked_while_running(service: Service, real_redis: RedisServer) -> None:
    """A running task that Celery revokes with `terminate` is canceled."""
    task_id = service.submit("demo.sleep", seconds=60)
    service.wait(task_id, lambda task: task["state"] == "running")
    with Celery(broker=real_redis.url, set_as_current=False) as control:
        control.control.revoke(task_id, terminate=True)

    task = service.wait(task_id)
    assert (task["state"], task["celery_state"], task["successful"]) == ("canceled", "REVOKED", False)
    assert task["failure"]["kind"] == "canceled"


def test_expired(service: Service) -> None:
    """A task has expired if its `expires` passed before its start."""
    task_id = service.post("demo.add", args=[1, 2], countdown=1, expires=0.2).json()["id"]

    waiting = service.read(task_id)
    assert waiting["scheduled_for"] > waiting["expires_at"] > waiting["submitted_at"]
    task = service.wait(task_id)
    assert (task["state"], task["done"], task["executions"]) == ("expired", True, 0)


def test_scheduled(service: Service) -> None:
    """A scheduled task that a worker has received is queued, with `scheduled_for`, until that time."""
    task_id = service.post("demo.add", args=[1, 2], countdown=1).json()["id"]

    held = service.wait(task_id, lambda task: task["received_at"])
    assert (held["state"], held["celery_state"], held["executions"]) == ("queued", "RECEIVED", 0)
    task = service.wait(task_id)
    assert task["started_at"] >= task["scheduled_for"] == held["scheduled_for"]


def test_checkpointed(service: Service) -> None:
    """A task that reports through the kit has progress with step, message and stage."""
    statuses = service.follow(service.submit("demo.checkpointed", total=10))

    reports = [status["progress"] for status in statuses if status["celery_state"] == "PROGRESS"]
    assert {progress["stage"] for progress in reports} == {"working"}
    assert all(progress["message"] for progress in reports)
    # Not all: between the two writes of a report the record is ahead of the meta, so their values differ.
    assert any(progress["updated_at"] for progress in reports)
    assert statuses[-1]["result"] == 10


def test_checkpointed_stops_when_canceled(service: Service, real_redis: RedisServer) -> None:
    """A task that reports progress stops after a cancel and is canceled."""
    task_id = service.submit("demo.checkpointed", total=1_000)
    service.wait(task_id, lambda task: task["progress"])
    with real_redis.client() as client:
        client.hset(f"task-status:record:{task_id}", FIELDS["cancel_requested"], "1")

    task = service.wait(task_id)
    assert (task["state"], task["cancel_requested"], task["successful"]) == ("canceled", True, False)


def test_unserializable(service: Service) -> None:
    """A task whose return value cannot be serialized has failed with `not_serializable`."""
    failure = failure_of(service.run("demo.unserializable"))

    assert failure["kind"] == "not_serializable"
    assert "not JSON serializable" in failure["message"]


def test_no_result(service: Service) -> None:
    """A task whose result is not stored has succeeded; Celery alone reports PENDING forever."""
    task = service.run("demo.no_result")

    assert (task["state"], task["result"], task["diagnostics"]) == ("succeeded", None, [])


def test_replace_self(service: Service) -> None:
    """A task that replaces itself has the state and result of its replacement."""
    task = service.run("demo.replace_self")

    assert (task["state"], task["result"], task["executions"]) == ("succeeded", 42, 2)


def test_crash(service: Service) -> None:
    """A task whose process dies has failed with `worker_lost`."""
    failure = failure_of(service.run("demo.crash"))

    assert failure["kind"] == "worker_lost"


def test_tree(service: Service) -> None:
    """A task that starts others lists their ids as children; they have its id as root."""
    task = service.run("demo.tree", width=3)
    # The body of the chord is unknown until its members are done and it is sent.
    members = [service.wait(task_id) for task_id in task["children"] if task_id != task["result"]]
    wait_until(lambda: service.session.get(f"{service.url}/tasks/{task['result']}", timeout=5).ok, what="the body")
    body = service.wait(task["result"])

    assert body["result"] == 6
    assert task["state"] == "succeeded"
    assert all(member["root_id"] == task["id"] for member in [body, *members])


def test_immediate_polls_find_the_task(service: Service) -> None:
    """A poll right after a submission finds the task; its state never goes back."""
    order = ["queued", "running", "succeeded"]
    for _ in range(50):
        seen = [order.index(status["state"]) for status in service.follow(service.submit("demo.add", x=1, y=1))]
        assert seen == sorted(seen)
