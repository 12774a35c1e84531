"""`DELETE /tasks/{id}`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


def test_forgets(submit, client, store):
    """Afterwards nothing is known of it: not its status, its result, its call, or that it was."""
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
def test_done_by_the_meta(client, store, fact):
    """What Celery alone says is done can be forgotten, with the record or without."""
    if fact:
        store.note(Note(task_id="t-1", fact=fact))
    store.metas["t-1"] = b'{"status": "FAILURE", "result": null}'

    assert client.delete("/tasks/t-1").status_code == 204
    problem_of(client.get("/tasks/t-1"), 404, "task-not-found")


def test_unreadable_for_ever(client, store):
    """Also what nobody can read, and no worker overwrite."""
    store.metas["t-1"] = b"garbage"

    assert client.delete("/tasks/t-1").status_code == 204


@pytest.mark.parametrize("fact", [Fact.SUBMITTED, Fact.STARTED, Fact.RETRYING])
def test_not_done(client, store, fact):
    """It would come back."""
    store.note(Note(task_id="t-1", fact=fact))

    problem_of(client.delete("/tasks/t-1"), 409, "task-not-done")
    assert client.get("/tasks/t-1").status_code == 200


def test_starts_again_meanwhile(client, store):
    """What was done by its meta and is noted of since is not forgotten."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    store.metas["t-1"] = b'{"status": "FAILURE", "result": null}'
    forget = store.forget
    store.forget = lambda done: (store.note(Note(task_id="t-1", fact=Fact.STARTED)), forget(done))[1]

    problem_of(client.delete("/tasks/t-1"), 409, "task-not-done")
    assert "t-1" in store.records


def test_no_such_task(client, store):
    """There is nothing to forget."""
    store.known.add("t-2")

    problem_of(client.delete("/tasks/t-1"), 404, "task-not-found")
    problem_of(client.delete("/tasks/*"), 404, "task-not-found")
    problem_of(client.delete("/tasks/t-2"), 410, "task-expired")


def test_store_down(client, store):
    """Nothing is forgotten without the store."""
    store.down = True

    problem_of(client.delete("/tasks/t-1"), 503, "store-unavailable")
