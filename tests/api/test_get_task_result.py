"""`GET /tasks/{id}/result`."""

import json

import pytest
from support.problems import problem_of
from task_status_service.status import MAX_INLINE_SIZE, MAX_STORED_BYTES
from task_status_worker.record.model import Fact, Note


def put_result(store, result, status="SUCCESS"):
    """Store a result as Celery does."""
    store.metas["t-1"] = json.dumps({"status": status, "result": result, "task_id": "t-1"}).encode()


@pytest.mark.parametrize("result", [None, 0, "text", [1, [2]], {"a": None}])
def test_bare(client, store, result):
    """The return value and nothing around it."""
    put_result(store, result)

    response = client.get("/tasks/t-1/result")

    assert (response.status_code, response.get_json()) == (200, result)
    assert response.headers["Cache-Control"] == "private, max-age=60"
    assert store.trips == 1


def test_too_large_for_a_status(client, store):
    """A result over the inline limit is not in the status, which says so, and is here."""
    result = "x" * (MAX_INLINE_SIZE + 1)
    put_result(store, result)

    task = client.get("/tasks/t-1").get_json()
    assert (task["state"], task["result"]) == ("succeeded", None)
    assert [diagnostic["code"] for diagnostic in task["diagnostics"]] == ["result_too_large"]
    assert client.get("/tasks/t-1/result").get_json() == result


def test_not_modified(client, store):
    """It has the version of its task."""
    put_result(store, 42)
    etag = client.get("/tasks/t-1/result").headers["ETag"]

    again = client.get("/tasks/t-1/result", headers={"If-None-Match": etag})

    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("status", ["STARTED", "PROGRESS", "RETRY"])
def test_not_done(client, store, status):
    """A task that is not done has none yet."""
    put_result(store, None, status)

    problem_of(client.get("/tasks/t-1/result"), 409, "task-not-done")


@pytest.mark.parametrize("status", ["FAILURE", "REVOKED"])
def test_did_not_succeed(client, store, status):
    """A task that failed or was canceled has none; its status says what happened."""
    put_result(store, {"exc_type": "ValueError", "exc_message": ["no"]}, status)

    problem_of(client.get("/tasks/t-1/result"), 409, "no-result")


def test_expired(client, store):
    """A result that Celery has dropped before the record: the task is known to have succeeded."""
    store.note(Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS"))

    problem_of(client.get("/tasks/t-1/result"), 410, "task-expired")


def test_larger_than_is_read(client, store):
    """A result that is not even read: no state, no result."""
    put_result(store, "x" * MAX_STORED_BYTES)

    problem_of(client.get("/tasks/t-1/result"), 409, "task-not-done")


def test_never_heard_of(client):
    """An id that never was, and one that cannot be."""
    problem_of(client.get("/tasks/t-1/result"), 404, "task-not-found")
    problem_of(client.get("/tasks/-/result"), 404, "task-not-found")
