"""Every way in which a task can go, one demo task each: through HTTP and a real worker."""

from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from support.servers import RedisServer, wait_until

from acceptance.conftest import Service


@pytest.fixture
def celery_reader(real_redis: RedisServer) -> Celery:
    """Give Celery's own reader of the same results."""
    return Celery(backend=real_redis.url, set_as_current=False)


def failure_of(task: dict[str, Any]) -> dict[str, Any]:
    """Check that a task has failed, and give how."""
    assert (task["state"], task["done"], task["successful"]) == ("failed", True, False), task
    return dict(task["failure"])


def test_add(service: Service) -> None:
    """A task that returns has succeeded, with its result, and everything about it is known."""
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


def test_pending_is_not_unknown(service: Service) -> None:
    """A task that nobody has taken yet is queued; an id that never was is 404. Celery says PENDING to both."""
    waiting = service.read(service.post("demo.add", args=[2, 3], queue="nobody-reads-this").json()["id"])
    never_was = service.session.get(f"{service.url}/tasks/{waiting['id'][::-1]}", timeout=5)

    assert (waiting["state"], waiting["celery_state"], waiting["queue"]) == ("queued", "PENDING", "nobody-reads-this")
    assert (never_was.status_code, never_was.json()["type"]) == (404, "/problems/task-not-found")


def test_count(service: Service) -> None:
    """A task that reports `{done, total}` is running, with rising progress, then has succeeded."""
    statuses = service.follow(service.submit("demo.count", total=20, interval=0.05))

    running = [status["progress"] for status in statuses if status["celery_state"] == "PROGRESS"]
    percents = [progress["percent"] for progress in running]
    assert {status["state"] for status in statuses} <= {"queued", "running", "succeeded"}
    assert len(set(percents)) > 3
    assert percents == sorted(percents)
    assert all(progress["total"] == 20 and progress["current"] * 5 == progress["percent"] for progress in running)
    assert statuses[-1]["result"] == 20


def test_fail(service: Service) -> None:
    """An exception is told with its type, message and traceback."""
    failure = failure_of(service.run("demo.fail", message="no such customer"))

    assert (failure["kind"], failure["type"], failure["message"]) == ("exception", "ValueError", "no such customer")
    assert failure["traceback"].startswith("Traceback (most recent call last)")
    assert failure["traceback"].rstrip().endswith("ValueError: no such customer")


def test_fail_with_details(service: Service, celery_reader: Celery) -> None:
    """What a task says about its failure reaches the client, and Celery's own reader is not broken by it."""
    details = {"field": "amount", "limit": 100}
    task = service.run("demo.fail_with_details", message="too much", details=details)

    failure = failure_of(task)
    assert (failure["kind"], failure["message"]) == ("exception", "too much")
    assert failure["details"] == {"code": "demo", "details": details}
    assert str(AsyncResult(task["id"], app=celery_reader).result) == "too much"


def test_raw_failure(service: Service, celery_reader: Celery) -> None:
    """The FAILURE with a custom meta that makes Celery raise reads with its details, also by Celery."""
    task = service.run("demo.raw_failure", custom={"why": "disk full"})

    assert failure_of(task)["details"] == {"custom": {"why": "disk full"}}
    assert AsyncResult(task["id"], app=celery_reader).state == "FAILURE"


def test_raw_failure_fixed(service: Service) -> None:
    """The same with `exc_type`, a traceback as a list of lines in `exc_message`, and a custom key."""
    failure = failure_of(service.run("demo.raw_failure_fixed", custom=[1, 2]))

    assert (failure["type"], failure["details"]) == ("ValueError", {"custom": [1, 2]})
    assert failure["message"] == "could not convert string to float: 'not a number'"
    assert failure["traceback"].startswith("Traceback (most recent call last)")


def test_poison_then_return(service: Service, celery_reader: Celery) -> None:
    """A task that stores a FAILURE that freezes its key, and then returns, has succeeded, with its result."""
    task = service.run("demo.poison_then_return", custom="x")

    assert (task["state"], task["result"]) == ("succeeded", 42)
    assert AsyncResult(task["id"], app=celery_reader).result == 42


def test_custom_final(service: Service) -> None:
    """A task that ends in a state of its own with Ignore is finished, and done."""
    task = service.run("demo.custom_final", state="PARTIAL", meta={"rows": 3})

    assert (task["state"], task["done"], task["successful"]) == ("finished", True, None)
    assert (task["celery_state"], task["meta"]) == ("PARTIAL", {"rows": 3})


def test_ignore(service: Service) -> None:
    """A task that raises Ignore and stores nothing is finished too; Celery leaves it STARTED for ever."""
    task = service.run("demo.ignore")

    assert (task["state"], task["celery_state"], task["result"]) == ("finished", "IGNORED", None)


def test_reject(service: Service) -> None:
    """A rejected task has failed: nobody will run it."""
    failure = failure_of(service.run("demo.reject"))

    assert (failure["kind"], failure["message"]) == ("rejected", "the demo rejects it")


def test_reject_with_requeue(service: Service) -> None:
    """A task that is put back into its queue goes on, and counts how often it was started."""
    task = service.run("demo.reject", requeue=True)

    assert (task["state"], task["result"], task["executions"]) == ("succeeded", "accepted", 2)


def test_flaky(service: Service) -> None:
    """Between its attempts a task is retrying, with what the last one died of and when the next comes."""
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
    """A task that says nothing is running all the same."""
    statuses = service.follow(service.submit("demo.sleep", seconds=0.5))

    assert any((status["state"], status["celery_state"]) == ("running", "STARTED") for status in statuses)
    assert all(status["meta"] is None for status in statuses)
    assert statuses[-1]["result"] == 0.5


def test_revoked_while_it_runs(service: Service, real_redis: RedisServer) -> None:
    """A task that is revoked and terminated is canceled."""
    task_id = service.submit("demo.sleep", seconds=60)
    service.wait(task_id, lambda task: task["state"] == "running")
    with Celery(broker=real_redis.url, set_as_current=False) as control:
        control.control.revoke(task_id, terminate=True)

    task = service.wait(task_id)
    assert (task["state"], task["celery_state"], task["successful"]) == ("canceled", "REVOKED", False)
    assert task["failure"]["kind"] == "canceled"


def test_expired(service: Service) -> None:
    """A task whose `expires` passed before it could start has expired."""
    task_id = service.post("demo.add", args=[1, 2], countdown=1, expires=0.2).json()["id"]

    waiting = service.read(task_id)
    assert waiting["scheduled_for"] > waiting["expires_at"] > waiting["submitted_at"]
    task = service.wait(task_id)
    assert (task["state"], task["done"], task["executions"]) == ("expired", True, 0)


def test_waits_for_its_time(service: Service) -> None:
    """A task that a worker holds until its time is queued, and says when that is."""
    task_id = service.post("demo.add", args=[1, 2], countdown=1).json()["id"]

    held = service.wait(task_id, lambda task: task["received_at"])
    assert (held["state"], held["celery_state"], held["executions"]) == ("queued", "RECEIVED", 0)
    task = service.wait(task_id)
    assert task["started_at"] >= task["scheduled_for"] == held["scheduled_for"]


def test_checkpointed(service: Service) -> None:
    """A task that reports through the kit tells step, message and stage."""
    statuses = service.follow(service.submit("demo.checkpointed", total=10))

    reports = [status["progress"] for status in statuses if status["celery_state"] == "PROGRESS"]
    assert {progress["stage"] for progress in reports} == {"working"}
    assert all(progress["message"] for progress in reports)
    # Not of each: between the two writes of a report the record is ahead of the meta, and its time is of another value.
    assert any(progress["updated_at"] for progress in reports)
    assert statuses[-1]["result"] == 10


def test_checkpointed_stops_when_canceled(service: Service, real_redis: RedisServer) -> None:
    """A task that reports learns that a cancel was asked for, and ends canceled."""
    task_id = service.submit("demo.checkpointed", total=1_000)
    service.wait(task_id, lambda task: task["progress"])
    with real_redis.client() as client:
        client.hset(f"task-status:record:{task_id}", "cancel_requested", "1")

    task = service.wait(task_id)
    assert (task["state"], task["cancel_requested"], task["successful"]) == ("canceled", True, False)


def test_unserializable(service: Service) -> None:
    """A return value that cannot be stored makes a failure that says so."""
    failure = failure_of(service.run("demo.unserializable"))

    assert failure["kind"] == "not_serializable"
    assert "not JSON serializable" in failure["message"]


def test_no_result(service: Service) -> None:
    """A task whose result nobody stores has succeeded; Celery says PENDING for ever."""
    task = service.run("demo.no_result")

    assert (task["state"], task["result"], task["diagnostics"]) == ("succeeded", None, [])


def test_replace_self(service: Service) -> None:
    """A task that lets another one run under its id ends as that one does."""
    task = service.run("demo.replace_self")

    assert (task["state"], task["result"], task["executions"]) == ("succeeded", 42, 2)


def test_crash(service: Service) -> None:
    """A task whose process dies has failed, and it is told that the worker was lost."""
    failure = failure_of(service.run("demo.crash"))

    assert failure["kind"] == "worker_lost"


def test_tree(service: Service) -> None:
    """A task that starts others tells their ids; they know their parent, root and group."""
    task = service.run("demo.tree", width=3)
    # Nobody has heard of the body before its members are done and it is sent.
    members = [service.wait(task_id) for task_id in task["children"] if task_id != task["result"]]
    wait_until(lambda: service.session.get(f"{service.url}/tasks/{task['result']}", timeout=5).ok, what="the body")
    body = service.wait(task["result"])

    assert body["result"] == 6
    assert task["state"] == "succeeded"
    assert all(member["root_id"] == task["id"] for member in [body, *members])


def test_a_poll_that_races_the_answer(service: Service) -> None:
    """Whoever has an id finds it, however soon; no status goes back."""
    order = ["queued", "running", "succeeded"]
    for _ in range(50):
        seen = [order.index(status["state"]) for status in service.follow(service.submit("demo.add", x=1, y=1))]
        assert seen == sorted(seen)
