"""Is the worker of a task still there, and what follows where lost is final."""

import json

import pytest
from support.use_cases import create_api, create_tracker
from task_status_worker.record.codec import unpack
from task_status_worker.record.model import Fact, Note

from api.test_events import events_of

STARTED = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance="w@h/1", worker="w@h")
ALIVE, STALLED, LOST, LOST_FOR_LONG = 3.0, 20.0, 60.0, 301.0


@pytest.fixture
def final_client(store, broker, submitter, feed):
    """Give a client of a service for which lost is final after five minutes."""
    tracker = create_tracker(store, broker, final_states={}, lost_final_seconds=300)
    return create_api(tracker, submitter, feed).test_client()


def test_alive_stalled_lost(client, store):
    """Each is another version of the status; a client that knows this one hears 304 until the next."""
    store.note(STARTED)
    seen = []
    for silence, liveness in ((None, "unknown"), (ALIVE, "alive"), (STALLED, "stalled"), (LOST, "lost")):
        store.seconds_since_heartbeat = silence
        response = client.get("/tasks/t-1", headers={"If-None-Match": ", ".join(seen)})
        assert (response.status_code, response.get_json()["liveness"]) == (200, liveness)
        seen.append(response.headers["ETag"])
        if silence is not None:
            store.seconds_since_heartbeat += 5
        assert client.get("/tasks/t-1", headers={"If-None-Match": seen[-1]}).status_code == 304
    assert len(set(seen)) == 4


def test_also_while_canceling(client, store):
    """A cancel changes nothing about the worker."""
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
def test_unknown_unless_it_runs(client, store, last):
    """Nobody runs it, or nobody knows who does."""
    store.note(STARTED)
    store.note(last)
    store.seconds_since_heartbeat = LOST

    assert client.get("/tasks/t-1").get_json()["liveness"] == "unknown"


def test_unknown_where_celery_knows_the_end(client, store):
    """The record may miss the end of a task of which Celery has the result."""
    store.note(STARTED)
    store.metas["t-1"] = b'{"status": "SUCCESS", "result": 1}'
    store.seconds_since_heartbeat = LOST

    task = client.get("/tasks/t-1").get_json()

    assert (task["state"], task["liveness"]) == ("succeeded", "unknown")


def test_a_stream_tells(client, store, feed):
    """A stream tells each, though nothing was written."""
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


def test_a_wait_ends_with_a_change(client, store, feed):
    """Who waits for another version is answered when the worker falls silent."""
    store.note(STARTED)
    store.seconds_since_heartbeat = ALIVE
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: None, lambda: setattr(store, "seconds_since_heartbeat", STALLED)]

    response = client.get("/tasks/t-1?wait=10", headers={"If-None-Match": etag})

    assert response.get_json()["liveness"] == "stalled"


WAYS = {
    "read": lambda client: client.get("/tasks/t-1").get_json(),
    "batch": lambda client: client.get("/tasks?id=t-1").get_json()["items"][0],
    "list": lambda client: client.get("/tasks").get_json()["items"][0],
    "wait": lambda client: client.get("/tasks/t-1?wait=10").get_json(),
    "watch": lambda client: events_of(client.get("/tasks/t-1/events"))[-1][1],
    "watch several": lambda client: events_of(client.get("/events?id=t-1"))[-1][1],
}


@pytest.mark.parametrize("way", WAYS)
def test_lost_is_final(final_client, store, way):
    """In every way of reading: it has failed, that is noted before it is told, and what comes later changes nothing."""
    store.note(STARTED)
    store.seconds_since_heartbeat = LOST_FOR_LONG

    told = WAYS[way](final_client)

    assert (told["state"], told["done"], told["liveness"]) == ("failed", True, "unknown")
    assert (told["failure"]["kind"], told["failure"]["type"]) == ("worker_lost", "WorkerLost")
    assert told["failure"]["message"] == "The worker has sent no heartbeat for 300 seconds."
    record = unpack(store.records["t-1"])
    assert (record.fact, record.final) == (Fact.FINISHED, True)

    store.seconds_since_heartbeat = ALIVE
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": 42, "task_id": "t-1"}).encode()
    for fact, outcome in ((Fact.STARTED, None), (Fact.FINISHED, "SUCCESS")):
        store.note(Note(task_id="t-1", fact=fact, run="1", outcome=outcome))
        assert WAYS[way](final_client) == told


def test_a_list_of_what_runs_has_none_that_is_lost(final_client, store):
    """What is settled by listing is in the list of its new state."""
    store.note(STARTED)
    store.seconds_since_heartbeat = LOST_FOR_LONG

    assert final_client.get("/tasks?state=running").get_json()["items"] == []
    assert len(final_client.get("/tasks?state=failed").get_json()["items"]) == 1


@pytest.mark.parametrize("silence", [None, ALIVE, STALLED, LOST, 300.0])
def test_not_yet(final_client, store, silence):
    """Before its time nothing is written."""
    store.note(STARTED)
    store.seconds_since_heartbeat = silence

    assert final_client.get("/tasks/t-1").get_json()["state"] == "running"
    assert store.records["t-1"][b"seq"] == b"1"


def test_never_unless_set(client, store):
    """Without the setting a task that is lost may come back for ever."""
    store.note(STARTED)
    store.seconds_since_heartbeat = 86_400.0

    task = client.get("/tasks/t-1").get_json()

    assert (task["state"], task["liveness"], task["done"]) == ("running", "lost", False)


def test_celery_knows_the_end(final_client, store):
    """A task of which Celery has the result is not lost, though the record misses the end."""
    store.note(STARTED)
    store.metas["t-1"] = b'{"status": "SUCCESS", "result": 1}'
    store.seconds_since_heartbeat = LOST_FOR_LONG

    assert final_client.get("/tasks/t-1").get_json()["state"] == "succeeded"
    assert store.records["t-1"][b"seq"] == b"1"


def test_a_store_that_takes_no_notes(final_client, store):
    """What cannot be noted is not told: it is lost, and may be settled later. Of many that are lost one is tried."""
    for number in range(3):
        store.note(Note(task_id=f"t-{number}", fact=Fact.STARTED, instance="w@h/1"))
    store.seconds_since_heartbeat = LOST_FOR_LONG
    store.full = True
    store.trips = 0

    tasks = final_client.get("/tasks?id=t-0&id=t-1&id=t-2").get_json()["items"]

    assert [(task["state"], task["liveness"]) for task in tasks] == [("running", "lost")] * 3
    assert store.trips == 2
