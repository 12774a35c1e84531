"""`?wait=` and `Prefer: wait`, on reading and on submitting."""

import json

import pytest
from support.problems import problem_of
from task_status_service.use_cases import watcher
from task_status_worker.record.model import Fact, Note

RUNNING = Note(task_id="t-1", fact=Fact.STARTED)
RUNNING_THERE = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance="w@h/1", worker="w@h")
ENDED = Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS")


def put_result(store, result):
    """Store a result as Celery does."""
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": result, "task_id": "t-1"}).encode()


@pytest.mark.parametrize("asked", [{"query_string": {"wait": "5"}}, {"headers": {"Prefer": "respond-async, wait=5"}}])
def test_waits_for_the_end(client, store, feed, asked):
    """It is answered when the task is done, and not before."""
    store.note(RUNNING)
    feed.script = [lambda: store.note(RUNNING), lambda: put_result(store, 42)]

    response = client.get("/tasks/t-1", **asked)

    assert (response.get_json()["state"], response.get_json()["result"]) == ("succeeded", 42)
    assert response.headers.get("Preference-Applied") == ("wait=5" if "headers" in asked else None)
    assert feed.script == feed.watches == []


def test_waits_for_a_change(client, store, feed):
    """A client that knows a version waits for another one."""
    store.note(RUNNING)
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: None, lambda: store.note(Note(task_id="t-1", progress={"percent": 50}))]

    response = client.get("/tasks/t-1?wait=5", headers={"If-None-Match": etag})

    assert response.get_json()["progress"]["percent"] == 50
    assert response.headers["ETag"] != etag


def test_is_told_the_end_and_not_that_it_is_near(client, store, feed):
    """Celery stores how a task ends a moment before its record says so: who waits for a change waits for that, too."""
    store.note(RUNNING_THERE)
    store.seconds_since_heartbeat = 1.0
    etag = client.get("/tasks/t-1").headers["ETag"]
    ended = Note(task_id="t-1", fact=Fact.FINISHED, run="1", outcome="SUCCESS")
    feed.script = [lambda: put_result(store, 42), lambda: None, lambda: store.note(ended)]

    response = client.get("/tasks/t-1?wait=5", headers={"If-None-Match": etag})

    assert (response.get_json()["state"], response.get_json()["result"]) == ("succeeded", 42)
    assert feed.script == feed.watches == []


def test_does_not_wait_long_for_an_end_that_is_not_told(client, store, feed, monkeypatch):
    """What is stored may be of a run before this one; then this one runs on, and that is told."""
    monkeypatch.setattr(watcher, "ENDING_SECONDS", 0.05)
    store.note(RUNNING_THERE)
    store.seconds_since_heartbeat = 1.0
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: put_result(store, 42)]

    response = client.get("/tasks/t-1?wait=60", headers={"If-None-Match": etag})

    assert (response.status_code, response.get_json()["state"]) == (200, "running")


def test_gives_what_is_known_in_the_end(client, store, feed):
    """After the time it is answered as it is: 200, or 304 to a client that knows that."""
    store.note(RUNNING)

    response = client.get("/tasks/t-1?wait=0.05")
    again = client.get("/tasks/t-1?wait=0.05", headers={"If-None-Match": response.headers["ETag"]})

    assert (response.get_json()["state"], again.status_code) == ("running", 304)
    assert feed.watches == []


def test_done_is_answered_at_once(client, store, feed):
    """There is nothing to wait for."""
    store.note(ENDED)
    feed.script = [lambda: pytest.fail("waited")]

    assert client.get("/tasks/t-1?wait=60").get_json()["state"] == "succeeded"


def test_too_many_wait_already(client, store, feed):
    """Then it is answered at once, and says when to come back."""
    store.note(RUNNING)
    feed.limit = 0

    response = client.get("/tasks/t-1?wait=60")

    assert (response.status_code, response.headers["Retry-After"]) == (200, "15")


def test_the_server_is_about_to_end(client, store, feed):
    """Who waits is answered, and asks another one."""
    store.note(RUNNING)
    feed.is_closed = True

    assert client.get("/tasks/t-1?wait=60").get_json()["state"] == "running"


@pytest.mark.parametrize(
    "wait", ["-1", "61", "60.001", "1e2", "1e9999", "x", "", "nan", "inf", "1_0", "%205", ".5", "%D9%A5", "5&wait=6"]
)
def test_what_is_no_wait(client, store, wait):
    """A wait that cannot be is refused, by name."""
    store.note(RUNNING)

    problem = problem_of(client.get(f"/tasks/t-1?wait={wait}"), 422, "validation")

    assert [error["parameter"] for error in problem["errors"]] == ["wait"]


@pytest.mark.parametrize("wait", ["5", "0.8188498333361891", "1e1", "1.5E-07", "-0.0", "60.0"])
def test_numbers(client, store, wait):
    """A wait is any number that JSON can write, as generated clients do with theirs."""
    put_result(store, 7)
    assert client.get(f"/tasks/t-1?wait={wait}").status_code == 200


@pytest.mark.parametrize("prefer", ["wait=x", "handling=lenient", "wait", ""])
def test_other_preferences_are_ignored(client, store, prefer):
    """A preference that is not understood is none (RFC 7240 section 2)."""
    store.note(RUNNING)

    response = client.get("/tasks/t-1", headers={"Prefer": prefer})

    assert (response.status_code, "Preference-Applied" in response.headers) == (200, False)


def test_nothing_to_wait_for(client, feed):
    """An id that never was is 404 at once."""
    problem_of(client.get("/tasks/t-1?wait=60"), 404, "task-not-found")
    assert feed.watches == []


def test_store_goes_away(client, store, feed):
    """A wait during which the store goes away ends as one without."""
    store.note(RUNNING)
    feed.script = [lambda: setattr(store, "down", True)]

    problem_of(client.get("/tasks/t-1?wait=5"), 503, "store-unavailable")
    assert feed.watches == []


def submitted(store):
    """Give the id of the one task that was submitted."""
    [task_id] = store.records
    return task_id


def test_submits_and_waits(client, store, feed):
    """Done within the wait: 200 with the result, and still with where to find it."""
    feed.script = [lambda: store.note(Note(task_id=submitted(store), fact=Fact.FINISHED, outcome="SUCCESS"))]

    response = client.post("/tasks?wait=5", json={"name": "demo.add", "args": [1, 2]})

    assert (response.status_code, response.get_json()["state"]) == (200, "succeeded")
    assert response.headers["Location"] == f"/tasks/{submitted(store)}"


@pytest.mark.parametrize("trouble", [{"limit": 0}, {"script": True}, {}])
def test_accepted_whatever_becomes_of_the_wait(client, store, feed, trouble):
    """What was submitted is accepted: 202 when it takes longer, too many wait, or the store goes away meanwhile."""
    feed.limit = trouble.get("limit", feed.limit)
    if "script" in trouble:
        feed.script = [lambda: setattr(store, "down", True)]

    response = client.post("/tasks", json={"name": "demo.add", "args": [1, 2]}, headers={"Prefer": "wait=1"})

    assert (response.status_code, response.get_json()["state"]) == (202, "queued")
    assert response.headers["Preference-Applied"] == "wait=1"
