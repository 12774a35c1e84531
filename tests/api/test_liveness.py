"""Liveness of the worker of a task, and tasks of lost workers that are marked as failed."""

import json

import pytest
from support.use_cases import create_api, create_tracker
from task_status_worker.record.codec import unpack
from task_status_worker.record.model import Fact, Note

from api.test_events import events_of

STARTED = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance="w@h/1", worker="w@h")
ALIVE, STALLED, LOST, OVER_LIMIT = 3.0, 20.0, 60.0, 301.0


@pytest.fixture
def final_client(store, broker, submitter, feed):
    """A client of a service that marks tasks of a lost worker as failed after 300 seconds."""
    tracker = create_tracker(store, broker, final_states={}, lost_final_seconds=300)
    return create_api(tracker, submitter, feed).test_client()


def test_each_liveness_is_a_new_version(client, store):
    """Each change of the liveness changes the ETag; a known version returns 304 until then."""
    store.note(STARTED)
    seen = []
    for seconds_since_heartbeat, liveness in (
        (None, "unknown"),
        (ALIVE, "alive"),
        (STALLED, "stalled"),
        (LOST, "lost"),
    ):
        store.seconds_since_heartbeat = seconds_since_heartbeat
        response = client.get("/tasks/t-1", headers={"If-None-Match": ", ".join(seen)})
        assert (response.status_code, response.get_json()["liveness"]) == (200, liveness)
        seen.append(response.headers["ETag"])
        if seconds_since_heartbeat is not None:
            store.seconds_since_heartbeat += 5
        assert client.get("/tasks/t-1", headers={"If-None-Match": seen[-1]}).status_code == 304
    assert len(set(seen)) == 4


def test_a_canceling_task_has_a_liveness(client, store):
    """A cancel does not change the liveness."""
    store.note(STARTED)
    store.note(Note(task_id="t-1", cancel_requested=True))
    store.seconds_since_heartbeat = LOST

    task = client.get("/tasks/t-1").get_json()

    assert (task["state"], task["liveness"]) == ("canceling", "lost")


@pytest.mark.parametrize(
    "last",
    [
        Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS"),
        Note(task_id="t-1", fact=Fact.RETRYING),
        Note(task_id="t-1", fact=Fact.REQUEUED, run="1"),
        Note(task_id="t-1", fact=Fact.STARTED, run="2"),
    ],
)
def test_liveness_is_unknown_unless_a_known_worker_runs_the_task(client, store, last):
    """The liveness is unknown if the task is not running, or the record does not name its worker instance."""
    store.note(STARTED)
    store.note(last)
    store.seconds_since_heartbeat = LOST

    assert client.get("/tasks/t-1").get_json()["liveness"] == "unknown"


def test_liveness_is_unknown_if_celery_has_the_result(client, store):
    """A task with a result in Celery's meta is done, even if the record lacks its end."""
    store.note(STARTED)
    store.metas["t-1"] = b'{"status": "SUCCESS", "result": 1}'
    store.seconds_since_heartbeat = LOST

    task = client.get("/tasks/t-1").get_json()

    assert (task["state"], task["liveness"]) == ("succeeded", "unknown")


def test_a_stream_reports_each_liveness(client, store, feed):
    """A stream reports each change of the liveness, although nothing is written."""
    store.note(STARTED)
    store.seconds_since_heartbeat = ALIVE
    feed.script = [
        lambda: setattr(store, "seconds_since_heartbeat", ALIVE + 5),
        lambda: setattr(store, "seconds_since_heartbeat", STALLED),
        lambda: setattr(store, "seconds_since_heartbeat", LOST),
        lambda: store.note(Note(task_id="t-1", fact=Fact.FINISHED, run="1", outcome="SUCCESS")),
    ]

    events = events_of(client.get("/tasks/t-1/events"))

    assert [status["liveness"] for _, status in events] == ["alive", "stalled", "lost", "unknown"]


def test_a_wait_returns_when_the_worker_stalls(client, store, feed):
    """A wait for another version returns when the heartbeats of the worker stop."""
    store.note(STARTED)
    store.seconds_since_heartbeat = ALIVE
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: None, lambda: setattr(store, "seconds_since_heartbeat", STALLED)]

    response = client.get("/tasks/t-1?wait=10", headers={"If-None-Match": etag})

    assert response.get_json()["liveness"] == "stalled"


READS = {
    "read": lambda client: client.get("/tasks/t-1").get_json(),
    "batch": lambda client: client.get("/tasks?id=t-1").get_json()["items"][0],
    "list": lambda client: client.get("/tasks").get_json()["items"][0],
    "wait": lambda client: client.get("/tasks/t-1?wait=10").get_json(),
    "watch": lambda client: events_of(client.get("/tasks/t-1/events"))[-1][1],
    "watch several": lambda client: events_of(client.get("/events?id=t-1"))[-1][1],
}


@pytest.mark.parametrize("read", READS)
def test_a_lost_task_is_marked_as_failed(final_client, store, read):
    """Every read marks a lost task as failed in the record before it answers; later facts change nothing."""
    store.note(STARTED)
    store.seconds_since_heartbeat = OVER_LIMIT

    status = READS[read](final_client)

    assert (status["state"], status["done"], status["liveness"]) == ("failed", True, "unknown")
    assert (status["failure"]["kind"], status["failure"]["type"]) == ("worker_lost", "WorkerLost")
    assert status["failure"]["message"] == "The worker has sent no heartbeat for 300 seconds."
    record = unpack(store.records["t-1"])
    assert (record.fact, record.final) == (Fact.FINISHED, True)

    store.seconds_since_heartbeat = ALIVE
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": 42, "task_id": "t-1"}).encode()
    for fact, outcome in ((Fact.STARTED, None), (Fact.FINISHED, "SUCCESS")):
        store.note(Note(task_id="t-1", fact=fact, run="1", outcome=outcome))
        assert READS[read](final_client) == status


def test_a_list_of_running_tasks_omits_lost_ones(final_client, store):
    """A lost task that a list marks as failed is in the list of failed tasks."""
    store.note(STARTED)
    store.seconds_since_heartbeat = OVER_LIMIT

    assert final_client.get("/tasks?state=running").get_json()["items"] == []
    assert len(final_client.get("/tasks?state=failed").get_json()["items"]) == 1


@pytest.mark.parametrize("seconds_since_heartbeat", [None, ALIVE, STALLED, LOST, 300.0])
def test_a_task_is_not_marked_before_the_limit(final_client, store, seconds_since_heartbeat):
    """A read before the limit writes nothing."""
    store.note(STARTED)
    store.seconds_since_heartbeat = seconds_since_heartbeat

    assert final_client.get("/tasks/t-1").get_json()["state"] == "running"
    assert store.records["t-1"][b"seq"] == b"1"


def test_lost_tasks_are_not_marked_without_the_setting(client, store):
    """Without the setting a lost task keeps its state, because its worker may return."""
    store.note(STARTED)
    store.seconds_since_heartbeat = 86_400.0

    task = client.get("/tasks/t-1").get_json()

    assert (task["state"], task["liveness"], task["done"]) == ("running", "lost", False)


def test_a_task_with_a_result_is_not_marked(final_client, store):
    """A task with a result in Celery's meta is not marked as failed, even if the record lacks its end."""
    store.note(STARTED)
    store.metas["t-1"] = b'{"status": "SUCCESS", "result": 1}'
    store.seconds_since_heartbeat = OVER_LIMIT

    assert final_client.get("/tasks/t-1").get_json()["state"] == "succeeded"
    assert store.records["t-1"][b"seq"] == b"1"


@pytest.mark.parametrize(
    "meta",
    [
        json.dumps({"result": list(range(50_000)), "status": "SUCCESS"}),
        json.dumps({"status": "SUCCESS", "result": list(range(50_000))}),
    ],
    ids=["state after the result", "state before the result"],
)
def test_a_large_result_of_a_lost_worker_is_an_end(final_client, store, meta):
    """A task with a large result has ended, although its worker is lost, wherever the stored value has its state."""
    store.note(STARTED)
    store.metas["t-1"] = meta.encode()
    store.seconds_since_heartbeat = OVER_LIMIT

    task = final_client.get("/tasks/t-1").get_json()

    assert (task["state"], task["failure"]) == ("succeeded", None)


def test_a_full_store_leaves_tasks_lost(final_client, store):
    """A task that cannot be marked is returned as lost. After one failed write, a request tries no other task."""
    for number in range(3):
        store.note(Note(task_id=f"t-{number}", fact=Fact.STARTED, instance="w@h/1"))
    store.seconds_since_heartbeat = OVER_LIMIT
    store.full = True
    store.trips = 0

    tasks = final_client.get("/tasks?id=t-0&id=t-1&id=t-2").get_json()["items"]

    assert [(task["state"], task["liveness"]) for task in tasks] == [("running", "lost")] * 3
    assert store.trips == 2
