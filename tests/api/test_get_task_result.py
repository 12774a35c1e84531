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
def test_returns_only_the_result(client, store, result):
    """The body is the return value alone."""
    put_result(store, result)

    response = client.get("/tasks/t-1/result")

    assert (response.status_code, response.get_json()) == (200, result)
    assert response.headers["Cache-Control"] == "private, max-age=60"
    assert store.trips == 1


def test_returns_a_result_that_the_status_omits(client, store):
    """The status omits a result over the inline limit with a diagnostic; this route returns it."""
    result = "x" * (MAX_INLINE_SIZE + 1)
    put_result(store, result)

    task = client.get("/tasks/t-1").get_json()
    assert (task["state"], task["result"]) == ("succeeded", None)
    assert [diagnostic["code"] for diagnostic in task["diagnostics"]] == ["result_too_large"]
    assert client.get("/tasks/t-1/result").get_json() == result


def test_a_known_version_returns_304(client, store):
    """A result has the version of its task."""
    put_result(store, 42)
    etag = client.get("/tasks/t-1/result").headers["ETag"]

    again = client.get("/tasks/t-1/result", headers={"If-None-Match": etag})

    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("status", ["STARTED", "PROGRESS", "RETRY"])
def test_a_task_that_is_not_done_returns_409(client, store, status):
    """A task that is not done has no result yet."""
    put_result(store, None, status)

    problem_of(client.get("/tasks/t-1/result"), 409, "task-not-done")


@pytest.mark.parametrize("status", ["FAILURE", "REVOKED"])
def test_an_unsuccessful_task_returns_409(client, store, status):
    """A failed or canceled task has no result; its status has the reason."""
    put_result(store, {"exc_type": "ValueError", "exc_message": ["no"]}, status)

    problem_of(client.get("/tasks/t-1/result"), 409, "no-result")


def test_an_expired_result_returns_410(client, store):
    """A successful task whose meta has expired returns 410."""
    store.note(Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS"))

    problem_of(client.get("/tasks/t-1/result"), 410, "task-expired")


def test_a_result_over_the_read_limit_returns_409(client, store):
    """The state of a meta over the read limit is read from its beginning; its result is not read."""
    put_result(store, "x" * MAX_STORED_BYTES)

    assert client.get("/tasks/t-1").get_json()["state"] == "succeeded"
    problem_of(client.get("/tasks/t-1/result"), 409, "no-result")


def test_an_unknown_id_returns_404(client):
    """Unknown and invalid ids return 404."""
    problem_of(client.get("/tasks/t-1/result"), 404, "task-not-found")
    problem_of(client.get("/tasks/-/result"), 404, "task-not-found")
