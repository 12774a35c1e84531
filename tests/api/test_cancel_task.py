"""`POST /tasks/{id}/cancel`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


@pytest.fixture
def cancel(client):
    """Give a function that cancels a task."""
    return lambda task_id="t-1", **body: client.post(f"/tasks/{task_id}/cancel", json=body)


def put_meta(store, state, result=None):
    """Let Celery store a meta."""
    store.metas["t-1"] = json.dumps({"status": state, "result": result, "task_id": "t-1"}).encode()


@pytest.mark.usefixtures("at_present")
def test_cancels_what_is_queued(submit, client, broker):
    """It is recorded, told to all workers, and answered with when to look again, also if it is scheduled for later."""
    task_id = submit(name="demo.add", args=[2, 3], countdown=3600).get_json()["id"]

    response = client.post(f"/tasks/{task_id}/cancel")

    task = response.get_json()
    assert (response.status_code, task["state"], task["cancel_requested"]) == (202, "canceling", True)
    assert (task["done"], response.headers["Retry-After"]) == (False, "1")
    assert response.headers["Cache-Control"] == "private, no-cache"
    assert broker.canceled == [(task_id, False, None)]
    read = client.get(f"/tasks/{task_id}")
    assert (read.get_json(), read.headers["Retry-After"]) == (task, "1")


def test_records_before_it_tells(cancel, store, broker):
    """When the workers hear of it, the record has it."""
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
def test_tells_those_who_may_have_it(cancel, store, broker, facts, worker):
    """A task that runs is the business of its worker alone: another one would store REVOKED at once."""
    for fact in facts:
        store.note(Note(task_id="t-1", fact=fact, worker="celery@here"))

    assert cancel(terminate=True).status_code == 202
    assert broker.canceled == [("t-1", True, worker)]


def test_again(cancel, store, broker):
    """A second cancel is a cancel too, and may be harder than the first one; a softer one changes nothing."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))

    answers = [cancel(), cancel(terminate=True), cancel(terminate=False)]

    assert [answer.status_code for answer in answers] == [202, 202, 202]
    assert [terminate for _, terminate, _ in broker.canceled] == [False, True, False]
    assert store.records["t-1"][b"terminate"] == b"1"


def test_already_canceled(cancel, store, broker):
    """There is nothing to do, and nothing is done."""
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
def test_done_otherwise(cancel, store, broker, note):
    """What has ended cannot be canceled."""
    store.note(note)
    before = dict(store.records["t-1"])

    problem_of(cancel(), 409, "task-done")
    assert (store.records["t-1"], broker.canceled) == (before, [])


@pytest.mark.parametrize(("fact", "status"), [(Fact.FINISHED, 409), (Fact.REVOKED, 200)])
def test_ends_meanwhile(cancel, store, broker, fact, status):
    """What ends between the look and the cancel has ended, and no worker is told to cancel it."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    note = store.note
    store.note = lambda cancel: (note(Note(task_id="t-1", fact=fact, outcome="FAILURE")), note(cancel))[1]

    assert cancel().status_code == status
    assert broker.canceled == []
    assert b"cancel_requested" not in store.records["t-1"]


def test_known_only_by_celery(cancel, client, store, broker):
    """A task that nobody submitted here, of a worker without the kit, can be canceled while it is not done."""
    put_meta(store, "PROGRESS", {"done": 1})
    assert cancel().get_json()["state"] == "canceling"
    assert broker.canceled == [("t-1", False, None)]

    put_meta(store, "SUCCESS", 42)
    problem_of(cancel(), 409, "task-done")
    assert client.get("/tasks/t-1").get_json()["state"] == "succeeded"


@pytest.mark.parametrize("task_id", ["t-2", "*", "-", "x" * 129])
def test_unknown(cancel, store, broker, task_id):
    """Nothing is written or told of an id that nobody has heard of."""
    problem_of(cancel(task_id), 404, "task-not-found")
    assert (store.records, store.known, broker.canceled) == ({}, set(), [])


def test_expired(cancel, store):
    """Of one that was known once there is nothing to cancel."""
    store.known.add("t-1")

    problem_of(cancel(), 410, "task-expired")
    assert store.records == {}


def test_broker_down(cancel, client, store, broker):
    """A broker that is away does not undo what is recorded."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))
    broker.down = True

    assert (cancel().status_code, client.get("/tasks/t-1").get_json()["state"]) == (202, "canceling")


def test_store_down(cancel, store, broker):
    """Without the store nothing is told: it could not be known."""
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
def test_names_what_is_wrong(client, store, body, pointers):
    """Every fault has its pointer, and nothing is recorded."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    problem = problem_of(client.post("/tasks/t-1/cancel", json=body), 422, "validation")

    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert b"cancel_requested" not in store.records["t-1"]


def test_bodies(client, store):
    """The body may be left out; what is there must be JSON."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    assert client.post("/tasks/t-1/cancel").status_code == 202
    assert client.post("/tasks/t-1/cancel", content_type="application/json").status_code == 202
    problem_of(client.post("/tasks/t-1/cancel", data="terminate=1"), 415, "unsupported-media-type")
    problem_of(client.post("/tasks/t-1/cancel", data="{", content_type="application/json"), 400, "malformed-json")
