"""`GET /tasks/{id}`."""

import json

import pytest

from api.problems import problem_of

META = {"status": "PROGRESS", "result": {"done": 3, "total": 10}, "traceback": None, "children": [], "task_id": "t-1"}


def test_reads_what_celery_stored(client, store):
    """A task that nobody submitted here reads as far as Celery's meta goes."""
    store.metas["t-1"] = json.dumps(META).encode()

    response = client.get("/tasks/t-1")

    task = response.get_json()
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.headers["Retry-After"] == "1"
    assert (task["state"], task["celery_state"], task["progress"]["percent"]) == ("running", "PROGRESS", 30.0)


def test_has_every_key(client, store):
    """Every key is always there: 30 of them, none slips in or out unnoticed."""
    store.metas["t-1"] = json.dumps(META).encode()

    task = client.get("/tasks/t-1").get_json()

    assert len(task) == 30
    assert task["expires_at"] is None
    assert task["labels"] == {}


def test_done_says_no_retry_after(client, store):
    """A client of a task that is done has nothing to wait for."""
    store.metas["t-1"] = json.dumps({**META, "status": "SUCCESS", "result": 42}).encode()

    response = client.get("/tasks/t-1")

    assert response.get_json()["result"] == 42
    assert "Retry-After" not in response.headers


def test_one_trip(client, store):
    """A read costs one round trip to the store."""
    store.metas["t-1"] = json.dumps(META).encode()

    client.get("/tasks/t-1")

    assert store.trips == 1


def test_never_heard_of(client):
    """An id that never was is 404, and not pending."""
    problem = problem_of(client.get("/tasks/t-1"), 404, "task-not-found")

    assert problem["instance"] == "/tasks/t-1"


def test_expired(client, store):
    """An id that was known once and is kept no longer is 410."""
    store.known.add("t-1")

    problem_of(client.get("/tasks/t-1"), 410, "task-expired")


@pytest.mark.parametrize(
    "task_id", ["-a", ".a", "a b", "a%00", "a%0d%0ab", "a%0a", "*", "?", "[a]", "%F0%9F%98%80", "a" * 129, "a" * 8_000]
)
def test_ids_that_cannot_be(client, store, task_id):
    """What is no task id is not looked up."""
    problem_of(client.get(f"/tasks/{task_id}".replace("?", "%3F")), 404, "task-not-found")

    assert store.trips == 0


def test_store_down(client, store):
    """Without the store nothing is known."""
    store.down = True

    response = client.get("/tasks/t-1")

    problem_of(response, 503, "store-unavailable")
    assert response.headers["Retry-After"] == "1"


def test_unreadable_is_not_an_error(client, store):
    """Whatever is stored, the answer is a status."""
    store.metas["t-1"] = b"\x80garbage"
    store.metas["t-2"] = [b"a list"]

    for task_id in ("t-1", "t-2"):
        response = client.get(f"/tasks/{task_id}")
        assert (response.status_code, response.get_json()["state"]) == (200, "unknown")
