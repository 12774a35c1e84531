"""`DELETE /tasks/{id}`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


def test_all_data_of_a_task_is_deleted(submit, client, store):
    """The status, the result and the call of the task are deleted, and its id is unknown."""
    task_id = submit(name="demo.add", args=[2, 3]).get_json()["id"]
    store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS"))
    store.metas[task_id] = json.dumps({"status": "SUCCESS", "result": 5, "task_id": task_id}).encode()

    response = client.delete(f"/tasks/{task_id}")

    assert (response.status_code, response.data) == (204, b"")
    problem_of(client.get(f"/tasks/{task_id}"), 404, "task-not-found")
    problem_of(client.delete(f"/tasks/{task_id}"), 404, "task-not-found")
    problem_of(client.post(f"/tasks/{task_id}/retry"), 404, "task-not-found")
    assert client.get("/tasks").get_json()["items"] == []
    assert (store.records, store.metas, store.calls, store.known) == ({}, {}, {}, set())


@pytest.mark.parametrize("fact", [None, Fact.STARTED])
def test_a_task_that_is_done_by_its_meta_is_deleted(client, store, fact):
    """A task that is done by Celery's meta can be deleted, with or without a record."""
    if fact:
        store.note(Note(task_id="t-1", fact=fact))
    store.metas["t-1"] = b'{"status": "FAILURE", "result": null}'

    assert client.delete("/tasks/t-1").status_code == 204
    problem_of(client.get("/tasks/t-1"), 404, "task-not-found")


def test_an_unreadable_meta_is_deleted(client, store):
    """A meta that cannot be read, and that no worker will overwrite, can be deleted."""
    store.metas["t-1"] = b"garbage"

    assert client.delete("/tasks/t-1").status_code == 204


@pytest.mark.parametrize("fact", [Fact.SUBMITTED, Fact.STARTED, Fact.RETRYING])
def test_a_task_that_is_not_done_returns_409(client, store, fact):
    """A task that is not done cannot be deleted, because its worker would store it again."""
    store.note(Note(task_id="t-1", fact=fact))

    problem_of(client.delete("/tasks/t-1"), 409, "task-not-done")
    assert client.get("/tasks/t-1").status_code == 200


def test_a_task_that_starts_again_is_not_deleted(client, store):
    """A task is not deleted if its record changes after the read that found it done."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    store.metas["t-1"] = b'{"status": "FAILURE", "result": null}'
    forget = store.forget
    store.forget = lambda done: (store.note(Note(task_id="t-1", fact=Fact.STARTED)), forget(done))[1]

    problem_of(client.delete("/tasks/t-1"), 409, "task-not-done")
    assert "t-1" in store.records


def test_an_unknown_task_returns_404(client, store):
    """Unknown and invalid ids return 404, expired ones 410."""
    store.known.add("t-2")

    problem_of(client.delete("/tasks/t-1"), 404, "task-not-found")
    problem_of(client.delete("/tasks/*"), 404, "task-not-found")
    problem_of(client.delete("/tasks/t-2"), 410, "task-expired")


def test_an_unreachable_store_returns_503(client, store):
    """A delete without the store returns 503."""
    store.down = True

    problem_of(client.delete("/tasks/t-1"), 503, "store-unavailable")
