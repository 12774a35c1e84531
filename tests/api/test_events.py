"""`GET /tasks/{id}/events` and `GET /events`."""

import json

import pytest
from support.problems import problem_of
from task_status_service.access.watch_limits import Places
from task_status_worker.record.model import Fact, Note


def started(task_id):
    """Return a note of a started task."""
    return Note(task_id=task_id, fact=Fact.STARTED)


def ended(task_id):
    """Return a note of a successful task."""
    return Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS")


def events_of(response):
    """Return the id and the status of each event of a whole stream."""
    assert response.status_code == 200, response.data
    assert response.content_type == "text/event-stream"
    blocks = response.get_data(as_text=True).split("\n\n")
    response.close()  # as a WSGI server does
    assert blocks[0] == "retry: 2000"
    events = []
    for block in blocks[1:-1]:
        if block != ": still here":
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            assert fields.keys() == {"event", "id", "data"}
            assert fields["event"] == "status"
            events.append((fields["id"], json.loads(fields["data"])))
    return events


def test_a_stream_sends_each_status_until_the_task_ends(client, store, feed):
    """A stream sends the current status and each change; it ends after the final status."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))
    feed.script = [
        lambda: store.note(started("t-1")),
        lambda: None,
        lambda: store.note(Note(task_id="t-1", progress={"percent": 50})),
        lambda: store.note(ended("t-1")),
    ]

    response = client.get("/tasks/t-1/events")
    events = events_of(response)

    assert [status["state"] for _, status in events] == ["queued", "running", "running", "succeeded"]
    assert [status["done"] for _, status in events] == [False, False, False, True]
    assert len({event_id for event_id, _ in events}) == 4
    assert response.headers["Cache-Control"] == "no-store"
    assert feed.watches == []


def test_the_event_id_is_the_etag(client, store):
    """The id of an event is the ETag of a read of the same status."""
    store.note(ended("t-1"))

    [(event_id, _)] = events_of(client.get("/tasks/t-1/events"))

    assert client.get("/tasks/t-1").headers["ETag"] == f'"{event_id}"'


def test_a_stream_resumes_after_the_last_event(client, store, feed):
    """A reconnecting client receives no event twice; after the final event it gets 204, which ends reconnecting."""
    store.note(started("t-1"))
    feed.script = [lambda: setattr(feed, "is_closed", True)]
    [(first, _)] = events_of(client.get("/tasks/t-1/events"))

    feed.is_closed, feed.script = False, [lambda: store.note(ended("t-1"))]
    [(last, status)] = events_of(client.get("/tasks/t-1/events", headers={"Last-Event-ID": first}))
    assert status["done"]

    after = client.get("/tasks/t-1/events", headers={"Last-Event-ID": last})
    assert (after.status_code, after.data) == (204, b"")
    assert feed.watches == []


def test_a_silent_stream_sends_comments(client, store, feed):
    """A stream without changes sends a comment periodically, to keep the connection open."""
    store.note(started("t-1"))
    response = client.get("/tasks/t-1/events", buffered=False)
    stream = response.iter_encoded()

    assert [next(stream) for _ in range(3)][2] == b": still here\n\n"
    store.note(ended("t-1"))
    response.close()
    assert feed.watches == []


def test_a_slow_reader_gets_the_latest(client, store, feed):
    """A client that reads slowly receives the latest status only, without the intermediate ones."""
    store.note(started("t-1"))

    def report_often() -> None:
        for percent in range(100):
            store.note(Note(task_id="t-1", progress={"percent": percent}))

    feed.script = [report_often, lambda: store.note(ended("t-1"))]

    percents = [
        status["progress"] and status["progress"]["percent"] for _, status in events_of(client.get("/tasks/t-1/events"))
    ]
    assert percents == [None, 99, 100]


def test_a_stream_survives_an_outage_of_the_store(client, store, feed):
    """A stream stays open during an outage of the store and sends the next change after it."""
    store.note(started("t-1"))
    feed.script = [
        lambda: setattr(store, "down", True),
        lambda: None,
        lambda: (setattr(store, "down", False), store.note(ended("t-1"))),
    ]

    assert [status["state"] for _, status in events_of(client.get("/tasks/t-1/events"))] == ["running", "succeeded"]


def test_a_failed_read_is_repeated(client, store, feed):
    """A change is announced once: a read that failed is repeated without another announcement."""
    store.note(started("t-1"))

    def end_and_lose_the_store() -> None:
        store.note(ended("t-1"))
        store.down = True

    feed.script = [end_and_lose_the_store]
    response = client.get("/tasks/t-1/events", buffered=False)
    stream = response.iter_encoded()
    assert [next(stream) for _ in range(3)][2] == b": still here\n\n"

    store.down = False
    assert b'"state":"succeeded"' in next(event for event in stream if event.startswith(b"event"))
    response.close()


def test_a_stream_ends_when_its_task_is_deleted(client, store, feed):
    """A stream ends when the record of its only task is deleted; with several tasks, it continues with the others."""
    for task_id in ("t-1", "t-2"):
        store.note(started(task_id))
    feed.script = [lambda: store.records.pop("t-1")]
    assert [status["state"] for _, status in events_of(client.get("/tasks/t-1/events"))] == ["running"]

    store.note(started("t-1"))
    feed.script = [lambda: store.records.pop("t-1"), lambda: store.note(ended("t-2"))]
    events = events_of(client.get("/events?id=t-1&id=t-2"))
    assert [(status["id"], status["done"]) for _, status in events] == [("t-1", False), ("t-2", False), ("t-2", True)]


def test_a_stream_of_several_tasks_ends_when_all_have_ended(client, store, feed):
    """One stream reports several tasks and ends after the last; a reconnecting client receives no event twice."""
    for task_id in ("t-1", "t-2", "t-3"):
        store.note(started(task_id))
    feed.script = [
        lambda: store.note(ended("t-2")),
        lambda: store.note(ended("t-1")),
        lambda: store.note(ended("t-3")),
    ]

    path = "/events?id=t-1&id=t-2&id=t-3&id=t-1"
    events = events_of(client.get(path))
    assert [(status["id"], status["done"]) for _, status in events] == [
        ("t-1", False),
        ("t-2", False),
        ("t-3", False),
        ("t-2", True),
        ("t-1", True),
        ("t-3", True),
    ]

    middle, last = events[3][0], events[5][0]
    again = events_of(client.get(path, headers={"Last-Event-ID": middle}))
    assert [(status["id"], status["done"]) for _, status in again] == [("t-1", True), ("t-3", True)]
    assert client.get(path, headers={"Last-Event-ID": last}).status_code == 204


def test_unknown_tasks_are_rejected(client, store):
    """A stream of one unknown task gets 404 or 410; a stream of several gets 422 with the unknown ids."""
    store.note(started("t-1"))
    store.known.add("t-2")

    problem_of(client.get("/tasks/t-9/events"), 404, "task-not-found")
    problem_of(client.get("/tasks/t-2/events"), 410, "task-expired")
    problem = problem_of(client.get("/events?id=t-1&id=t-9"), 422, "validation")
    assert problem["errors"] == [{"detail": "t-9: no such task", "parameter": "id"}]


@pytest.mark.parametrize("query", ["", "id=-", "id=", "&".join(f"id=t-{number}" for number in range(101))])
def test_invalid_ids_are_rejected(client, query):
    """A missing id, an invalid id and more than 100 ids are rejected."""
    problem = problem_of(client.get(f"/events?{query}"), 422, "validation")

    assert {error["parameter"] for error in problem["errors"]} == {"id"}


def test_too_many_streams_get_429(client, store, feed):
    """A stream above the limit gets 429 with Retry-After."""
    store.note(started("t-1"))
    feed.places = Places(0)

    for path in ("/tasks/t-1/events", "/events?id=t-1"):
        response = client.get(path)
        problem_of(response, 429, "rate-limited")
        assert response.headers["Retry-After"] == "1"


def test_a_stream_cannot_start_while_the_store_is_down(client, store, feed):
    """Without the store, a new stream gets 503 and its watch is released."""
    store.down = True

    problem_of(client.get("/tasks/t-1/events"), 503, "store-unavailable")
    assert feed.watches == []
