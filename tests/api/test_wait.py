"""`?wait=` and `Prefer: wait`, on reading and on submitting."""

import json

import pytest
from support.problems import problem_of
from task_status_service.access.watch_limits import Places
from task_status_service.use_cases import watcher
from task_status_worker.record.model import Fact, Note

RUNNING = Note(task_id="t-1", fact=Fact.STARTED)
RUNNING_ON_A_WORKER = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance="w@h/1", worker="w@h")
ENDED = Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS")


def put_result(store, result):
    """Store a result as Celery does."""
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": result, "task_id": "t-1"}).encode()


@pytest.mark.parametrize("asked", [{"query_string": {"wait": "5"}}, {"headers": {"Prefer": "respond-async, wait=5"}}])
def test_a_wait_returns_when_the_task_is_done(client, store, feed, asked):
    """A wait without a known version returns when the task is done, and not at an earlier change."""
    store.note(RUNNING)
    feed.script = [lambda: store.note(RUNNING), lambda: put_result(store, 42)]

    response = client.get("/tasks/t-1", **asked)

    assert (response.get_json()["state"], response.get_json()["result"]) == ("succeeded", 42)
    assert response.headers.get("Preference-Applied") == ("wait=5" if "headers" in asked else None)
    assert feed.script == feed.watches == []


def test_a_wait_with_a_version_returns_at_a_change(client, store, feed):
    """A wait with `If-None-Match` returns when the version changes."""
    store.note(RUNNING)
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: None, lambda: store.note(Note(task_id="t-1", progress={"percent": 50}))]

    response = client.get("/tasks/t-1?wait=5", headers={"If-None-Match": etag})

    assert response.get_json()["progress"]["percent"] == 50
    assert response.headers["ETag"] != etag


def test_a_wait_for_a_change_returns_the_final_status(client, store, feed):
    """Celery stores the result a moment before the record ends; a wait returns the status after both."""
    store.note(RUNNING_ON_A_WORKER)
    store.seconds_since_heartbeat = 1.0
    etag = client.get("/tasks/t-1").headers["ETag"]
    ended = Note(task_id="t-1", fact=Fact.FINISHED, run="1", outcome="SUCCESS")
    feed.script = [lambda: put_result(store, 42), lambda: None, lambda: store.note(ended)]

    response = client.get("/tasks/t-1?wait=5", headers={"If-None-Match": etag})

    assert (response.get_json()["state"], response.get_json()["result"]) == ("succeeded", 42)
    assert feed.script == feed.watches == []


def test_a_wait_does_not_wait_long_for_the_record_to_end(client, store, feed, monkeypatch):
    """A stored result may belong to an earlier execution; after a short time the wait returns the running task."""
    monkeypatch.setattr(watcher, "ENDING_SECONDS", 0.05)
    store.note(RUNNING_ON_A_WORKER)
    store.seconds_since_heartbeat = 1.0
    etag = client.get("/tasks/t-1").headers["ETag"]
    feed.script = [lambda: put_result(store, 42)]

    response = client.get("/tasks/t-1?wait=60", headers={"If-None-Match": etag})

    assert (response.status_code, response.get_json()["state"]) == (200, "running")


def test_a_wait_returns_the_status_when_its_time_is_over(client, store, feed):
    """When the time is over, a wait returns 200, or 304 if the client knows this version."""
    store.note(RUNNING)

    response = client.get("/tasks/t-1?wait=0.05")
    again = client.get("/tasks/t-1?wait=0.05", headers={"If-None-Match": response.headers["ETag"]})

    assert (response.get_json()["state"], again.status_code) == ("running", 304)
    assert feed.watches == []


def test_a_wait_for_a_done_task_returns_at_once(client, store, feed):
    """A task that is done is returned without a wait."""
    store.note(ENDED)
    feed.script = [lambda: pytest.fail("waited")]

    assert client.get("/tasks/t-1?wait=60").get_json()["state"] == "succeeded"


def test_a_wait_over_the_limit_returns_at_once(client, store, feed):
    """A wait over the limit of waits returns at once, with `Retry-After`."""
    store.note(RUNNING)
    feed.places = Places(0)

    response = client.get("/tasks/t-1?wait=60")

    assert (response.status_code, response.headers["Retry-After"]) == (200, "15")


def test_a_wait_returns_when_the_server_stops(client, store, feed):
    """A wait returns when its server stops, so that the client can ask another one."""
    store.note(RUNNING)
    feed.is_closed = True

    assert client.get("/tasks/t-1?wait=60").get_json()["state"] == "running"


@pytest.mark.parametrize(
    "wait", ["-1", "61", "60.001", "1e2", "1e9999", "x", "", "nan", "inf", "1_0", "%205", ".5", "%D9%A5", "5&wait=6"]
)
def test_an_invalid_wait_returns_422(client, store, wait):
    """An invalid wait is rejected with the name of the parameter."""
    store.note(RUNNING)

    problem = problem_of(client.get(f"/tasks/t-1?wait={wait}"), 422, "validation")

    assert [error["parameter"] for error in problem["errors"]] == ["wait"]


@pytest.mark.parametrize("wait", ["5", "0.8188498333361891", "1e1", "1.5E-07", "-0.0", "60.0"])
def test_a_wait_is_any_json_number(client, store, wait):
    """A wait accepts every form of a JSON number, as generated clients send it."""
    put_result(store, 7)
    assert client.get(f"/tasks/t-1?wait={wait}").status_code == 200


@pytest.mark.parametrize("prefer", ["wait=x", "handling=lenient", "wait", ""])
def test_other_preferences_are_ignored(client, store, prefer):
    """Unknown and invalid preferences are ignored (RFC 7240 section 2)."""
    store.note(RUNNING)

    response = client.get("/tasks/t-1", headers={"Prefer": prefer})

    assert (response.status_code, "Preference-Applied" in response.headers) == (200, False)


def test_a_wait_for_an_unknown_task_returns_404(client, feed):
    """An unknown id returns 404 at once."""
    problem_of(client.get("/tasks/t-1?wait=60"), 404, "task-not-found")
    assert feed.watches == []


def test_a_wait_returns_503_when_the_store_fails(client, store, feed):
    """A store that fails during a wait returns 503, as for a read."""
    store.note(RUNNING)
    feed.script = [lambda: setattr(store, "down", True)]

    problem_of(client.get("/tasks/t-1?wait=5"), 503, "store-unavailable")
    assert feed.watches == []


def only_task(store):
    """Return the id of the only task in the store."""
    [task_id] = store.records
    return task_id


def test_a_submission_waits_for_the_result(client, store, feed):
    """A task that ends during the wait returns 200 with its result and location."""
    feed.script = [lambda: store.note(Note(task_id=only_task(store), fact=Fact.FINISHED, outcome="SUCCESS"))]

    response = client.post("/tasks?wait=5", json={"name": "demo.add", "args": [1, 2]})

    assert (response.status_code, response.get_json()["state"]) == (200, "succeeded")
    assert response.headers["Location"] == f"/tasks/{only_task(store)}"


@pytest.mark.parametrize("trouble", [{"places": Places(0)}, {"script": True}, {}])
def test_a_submission_is_accepted_when_its_wait_ends_early(client, store, feed, trouble):
    """A submission returns 202 when the wait times out, exceeds a limit, or loses the store."""
    feed.places = trouble.get("places", feed.places)
    if "script" in trouble:
        feed.script = [lambda: setattr(store, "down", True)]

    response = client.post("/tasks", json={"name": "demo.add", "args": [1, 2]}, headers={"Prefer": "wait=1"})

    assert (response.status_code, response.get_json()["state"]) == (202, "queued")
    assert response.headers["Preference-Applied"] == "wait=1"
