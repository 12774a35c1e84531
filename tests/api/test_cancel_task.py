"""`POST /tasks/{id}/cancel`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


@pytest.fixture
def cancel(client):
    """Return a function that cancels a task."""
    return lambda task_id="t-1", **body: client.post(f"/tasks/{task_id}/cancel", json=body)


def put_meta(store, state, result=None):
    """Store a meta as Celery does."""
    store.metas["t-1"] = json.dumps({"status": state, "result": result, "task_id": "t-1"}).encode()


@pytest.mark.usefixtures("at_present")
def test_a_queued_task_is_canceled(submit, client, broker):
    """A cancel of a scheduled task is recorded and sent to all workers; the response has a Retry-After."""
    task_id = submit(name="demo.add", args=[2, 3], countdown=3600).get_json()["id"]

    response = client.post(f"/tasks/{task_id}/cancel")

    task = response.get_json()
    assert (response.status_code, task["state"], task["cancel_requested"]) == (202, "canceling", True)
    assert (task["done"], response.headers["Retry-After"]) == (False, "1")
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert broker.canceled == [(task_id, False, None)]
    read = client.get(f"/tasks/{task_id}")
    assert (read.get_json(), read.headers["Retry-After"]) == (task, "1")


def test_a_cancel_is_recorded_before_it_is_sent(cancel, store, broker):
    """The record contains the cancel when the workers receive it."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))
    seen = []
    broker.cancel = lambda *_, **__: seen.append(store.records["t-1"][b"cancel_requested"])

    cancel()

    assert seen == [b"1"]


@pytest.mark.parametrize(
    ("facts", "worker"),
    [
        ([Fact.STARTED], "celery@here"),
        ([Fact.RECEIVED], None),
        ([Fact.STARTED, Fact.RETRYING], None),
        ([Fact.STARTED, Fact.REQUEUED], None),
    ],
)
def test_the_cancel_of_a_running_task_is_sent_to_its_worker_only(cancel, store, broker, facts, worker):
    """Another worker would store REVOKED at once; without a running attempt, all workers receive the cancel."""
    for fact in facts:
        store.note(Note(task_id="t-1", fact=fact, worker="celery@here"))

    assert cancel(terminate=True).status_code == 202
    assert broker.canceled == [("t-1", True, worker)]


def test_a_second_cancel_is_accepted(cancel, store, broker):
    """A second cancel may add `terminate`; a later cancel without it does not remove it."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))

    answers = [cancel(), cancel(terminate=True), cancel(terminate=False)]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [terminate for _, terminate, _ in broker.canceled] == [False, True, False]
    assert store.records["t-1"][b"terminate"] == b"1"


def test_a_cancel_of_a_canceled_task_does_nothing(cancel, store, broker):
    """The response is 200 without Retry-After, and the workers receive no message."""
    store.note(Note(task_id="t-1", fact=Fact.REVOKED))

    response = cancel()

    assert (response.status_code, response.get_json()["state"]) == (200, "canceled")
    assert "Retry-After" not in response.headers
    assert broker.canceled == []


@pytest.mark.parametrize(
    "note",
    [
        Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS"),
        Note(task_id="t-1", fact=Fact.FINISHED, outcome="FAILURE"),
        Note(task_id="t-1", fact=Fact.IGNORED),
        Note(task_id="t-1", fact=Fact.REVOKED, outcome="EXPIRED"),
    ],
)
def test_a_finished_task_cannot_be_canceled(cancel, store, broker, note):
    """The response is 409; the record does not change and the workers receive no message."""
    store.note(note)
    before = dict(store.records["t-1"])

    problem_of(cancel(), 409, "task-done")
    assert (store.records["t-1"], broker.canceled) == (before, [])


@pytest.mark.parametrize(("fact", "status"), [(Fact.FINISHED, 409), (Fact.REVOKED, 200)])
def test_a_task_that_ends_during_the_cancel_is_not_canceled(cancel, store, broker, fact, status):
    """A task that ends between the read and the write of the cancel is unchanged; no worker gets the cancel."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    note = store.note
    store.note = lambda cancel: (note(Note(task_id="t-1", fact=fact, outcome="FAILURE")), note(cancel))[1]

    assert cancel().status_code == status
    assert broker.canceled == []
    assert b"cancel_requested" not in store.records["t-1"]


def test_a_task_without_a_record_can_be_canceled(cancel, client, store, broker):
    """A task that only Celery knows, from a worker without our package, can be canceled until it ends."""
    put_meta(store, "PROGRESS", {"done": 1})
    assert cancel().get_json()["state"] == "canceling"
    assert broker.canceled == [("t-1", False, None)]

    put_meta(store, "SUCCESS", 42)
    problem_of(cancel(), 409, "task-done")
    assert client.get("/tasks/t-1").get_json()["state"] == "succeeded"


@pytest.mark.parametrize("task_id", ["t-2", "*", "-", "x" * 129])
def test_a_cancel_of_an_unknown_task_writes_nothing(cancel, store, broker, task_id):
    """An unknown or invalid id gets 404, without a write or a message."""
    problem_of(cancel(task_id), 404, "task-not-found")
    assert (store.records, store.known, broker.canceled) == ({}, set(), [])


def test_an_expired_task_cannot_be_canceled(cancel, store):
    """An expired task gets 410, and no record is created."""
    store.known.add("t-1")

    problem_of(cancel(), 410, "task-expired")
    assert store.records == {}


def test_a_cancel_is_recorded_while_the_broker_is_down(cancel, client, store, broker):
    """An unavailable broker does not undo the recorded cancel."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))
    broker.down = True

    assert (cancel().status_code, client.get("/tasks/t-1").get_json()["state"]) == (202, "canceling")


def test_no_cancel_is_sent_while_the_store_is_down(cancel, store, broker):
    """Without the store, the response is 503 and the workers receive no message."""
    store.down = True

    problem_of(cancel(), 503, "store-unavailable")
    assert broker.canceled == []


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({"terminate": "yes"}, ["#/terminate"]),
        ({"terminate": 1}, ["#/terminate"]),
        ({"terminate": None}, ["#/terminate"]),
        ({"signal": "KILL"}, ["#/signal"]),
        ([], ["#"]),
    ],
)
def test_an_invalid_body_is_rejected(client, store, body, pointers):
    """Each error has a pointer to the invalid value, and nothing is recorded."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    problem = problem_of(client.post("/tasks/t-1/cancel", json=body), 422, "validation")

    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert b"cancel_requested" not in store.records["t-1"]


def test_the_body_is_optional(client, store):
    """The body may be omitted; a body that is sent must be JSON."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    assert client.post("/tasks/t-1/cancel").status_code == 202
    assert client.post("/tasks/t-1/cancel", content_type="application/json").status_code == 202
    problem_of(client.post("/tasks/t-1/cancel", data="terminate=1"), 415, "unsupported-media-type")
    problem_of(client.post("/tasks/t-1/cancel", data="{", content_type="application/json"), 400, "malformed-json")
