"""`GET /tasks/{id}/events` and `GET /events`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


def started(task_id):
    """Make a note."""
    return Note(task_id=task_id, fact=Fact.STARTED)


def ended(task_id):
    """Make a final note."""
    return Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS")


def events_of(response):
    """Read a whole stream: each event with its id and its status."""
    assert response.status_code == 200, response.data
    assert response.content_type == "text/event-stream"
    blocks = response.get_data(as_text=True).split("\n\n")
    response.close()  # as a server does
    assert blocks[0] == "retry: 2000"
    events = []
    for block in blocks[1:-1]:
        if block != ": still here":
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            assert fields.keys() == {"event", "id", "data"}
            assert fields["event"] == "status"
            events.append((fields["id"], json.loads(fields["data"])))
    return events


def test_from_now_to_the_end(client, store, feed):
    """The present status, each other one, and the last, which is done; then the stream ends."""
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


def test_the_id_is_the_version(client, store):
    """The id of an event is what a read names as its ETag."""
    store.note(ended("t-1"))

    [(event_id, _)] = events_of(client.get("/tasks/t-1/events"))

    assert client.get("/tasks/t-1").headers["ETag"] == f'"{event_id}"'


def test_goes_on_where_it_was(client, store, feed):
    """A client that comes back is not told again what it knows, and after the end not to come back at all."""
    store.note(started("t-1"))
    feed.script = [lambda: setattr(feed, "is_closed", True)]
    [(first, _)] = events_of(client.get("/tasks/t-1/events"))

    feed.is_closed, feed.script = False, [lambda: store.note(ended("t-1"))]
    [(last, status)] = events_of(client.get("/tasks/t-1/events", headers={"Last-Event-ID": first}))
    assert status["done"]

    after = client.get("/tasks/t-1/events", headers={"Last-Event-ID": last})
    assert (after.status_code, after.data) == (204, b"")
    assert feed.watches == []


def test_says_that_it_is_alive(client, store, feed):
    """A silent stream sends a comment now and then."""
    store.note(started("t-1"))
    response = client.get("/tasks/t-1/events", buffered=False)
    stream = response.iter_encoded()

    assert [next(stream) for _ in range(3)][2] == b": still here\n\n"
    store.note(ended("t-1"))
    response.close()
    assert feed.watches == []


def test_a_slow_reader_gets_the_latest(client, store, feed):
    """What happened while a client did not read is one status, and not all in between."""
    store.note(started("t-1"))

    def much() -> None:
        for percent in range(100):
            store.note(Note(task_id="t-1", progress={"percent": percent}))

    feed.script = [much, lambda: store.note(ended("t-1"))]

    percents = [
        status["progress"] and status["progress"]["percent"] for _, status in events_of(client.get("/tasks/t-1/events"))
    ]
    assert percents == [None, 99, 100]


def test_the_store_goes_away_and_comes_back(client, store, feed):
    """A stream outlives an outage of the store."""
    store.note(started("t-1"))
    feed.script = [
        lambda: setattr(store, "down", True),
        lambda: None,
        lambda: (setattr(store, "down", False), store.note(ended("t-1"))),
    ]

    assert [status["state"] for _, status in events_of(client.get("/tasks/t-1/events"))] == ["running", "succeeded"]


def test_what_could_not_be_read_is_read_again(client, store, feed):
    """A hint comes once: what it told of is read as soon as it can be, though nobody says so again."""
    store.note(started("t-1"))

    def end_and_go_away() -> None:
        store.note(ended("t-1"))
        store.down = True

    feed.script = [end_and_go_away]
    response = client.get("/tasks/t-1/events", buffered=False)
    stream = response.iter_encoded()
    assert [next(stream) for _ in range(3)][2] == b": still here\n\n"

    store.down = False
    assert b'"state":"succeeded"' in next(event for event in stream if event.startswith(b"event"))
    response.close()


def test_a_task_that_is_gone(client, store, feed):
    """A stream has nothing to wait for when its task was forgotten or its data lost; those of other tasks go on."""
    for task_id in ("t-1", "t-2"):
        store.note(started(task_id))
    feed.script = [lambda: store.records.pop("t-1")]
    assert [status["state"] for _, status in events_of(client.get("/tasks/t-1/events"))] == ["running"]

    store.note(started("t-1"))
    feed.script = [lambda: store.records.pop("t-1"), lambda: store.note(ended("t-2"))]
    events = events_of(client.get("/events?id=t-1&id=t-2"))
    assert [(status["id"], status["done"]) for _, status in events] == [("t-1", False), ("t-2", False), ("t-2", True)]


def test_several(client, store, feed):
    """Several tasks in one stream, which ends when all are done; who comes back is told nothing twice."""
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


def test_unknown_ones(client, store):
    """Of one task: 404 or 410. Of several: what is unknown is named."""
    store.note(started("t-1"))
    store.known.add("t-2")

    problem_of(client.get("/tasks/t-9/events"), 404, "task-not-found")
    problem_of(client.get("/tasks/t-2/events"), 410, "task-expired")
    problem = problem_of(client.get("/events?id=t-1&id=t-9"), 422, "validation")
    assert problem["errors"] == [{"detail": "t-9: no such task", "parameter": "id"}]


@pytest.mark.parametrize("query", ["", "id=-", "id=", "&".join(f"id=t-{number}" for number in range(101))])
def test_what_cannot_be_watched(client, query):
    """No id, one that cannot be, or too many."""
    problem = problem_of(client.get(f"/events?{query}"), 422, "validation")

    assert {error["parameter"] for error in problem["errors"]} == {"id"}


def test_too_many(client, store, feed):
    """Above the bound: 429, and when to try again."""
    store.note(started("t-1"))
    feed.limit = 0

    for path in ("/tasks/t-1/events", "/events?id=t-1"):
        response = client.get(path)
        problem_of(response, 429, "rate-limited")
        assert response.headers["Retry-After"] == "1"


def test_store_down(client, store, feed):
    """Without the store there is nothing to begin with, and the place is free again."""
    store.down = True

    problem_of(client.get("/tasks/t-1/events"), 503, "store-unavailable")
    assert feed.watches == []
