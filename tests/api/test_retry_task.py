"""`POST /tasks/{id}/retry`."""

import json

import pytest
from support.problems import problem_of
from task_status_worker.record.model import Fact, Note


@pytest.fixture
def failed(submit, store, broker):
    """The id of a failed task that was submitted with all options."""
    response = submit(
        name="demo.add",
        args=[2],
        kwargs={"y": 3},
        countdown=60,
        expires=90,
        queue="slow",
        priority=7,
        labels={"a": "b"},
    )
    task_id = response.get_json()["id"]
    store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="FAILURE"))
    broker.sent.clear()
    return task_id


@pytest.mark.usefixtures("at_present")
def test_a_retry_is_a_new_task(client, broker, failed):
    """A retry copies name, arguments, queue, priority and labels, but not the times, and names the old task."""
    response = client.post(f"/tasks/{failed}/retry")

    task = response.get_json()
    assert (response.status_code, task["state"]) == (202, "queued")
    assert response.headers["Location"] == f"/tasks/{task['id']}"
    assert response.headers["Retry-After"] == "1"
    assert task["id"] != failed
    assert task["labels"] == {"a": "b", "retry_of": failed}
    assert (task["name"], task["queue"], task["scheduled_for"], task["expires_at"]) == ("demo.add", "slow", None, None)
    [(task_id, submission, queue)] = broker.sent
    assert (task_id, submission.call.name, submission.call.args, submission.call.kwargs) == (
        task["id"],
        "demo.add",
        [2],
        {"y": 3},
    )
    assert (queue, submission.call.priority) == ("slow", 7)
    assert client.get(f"/tasks/{task_id}").get_json() == task
    assert client.get(f"/tasks/{failed}").get_json()["state"] == "failed"


def test_a_retry_of_a_retry_names_the_retry(client, store, failed):
    """The label `retry_of` names the retried task, and lists can filter by it."""
    first = client.post(f"/tasks/{failed}/retry").get_json()["id"]
    store.note(Note(task_id=first, fact=Fact.REVOKED))

    second = client.post(f"/tasks/{first}/retry").get_json()

    assert second["labels"] == {"a": "b", "retry_of": first}
    assert [task["id"] for task in client.get(f"/tasks?label=retry_of:{failed}").get_json()["items"]] == [first]


def test_a_task_without_a_queue_is_sent_to_the_queue_of_its_type(submit, client, store, broker):
    """The retry of a task without a queue uses the announced queue."""
    task_id = submit(name="demo.add", args=[2, 3]).get_json()["id"]
    store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS"))

    client.post(f"/tasks/{task_id}/retry")

    assert [(queue, submission.call.priority) for _, submission, queue in broker.sent] == [("sums", None)] * 2


def test_a_task_that_is_not_done_returns_409(submit, client, broker):
    """A task that may still succeed is not retried."""
    task_id = submit(name="demo.add", args=[2, 3]).get_json()["id"]

    problem_of(client.post(f"/tasks/{task_id}/retry"), 409, "task-not-done")
    assert len(broker.sent) == 1


def test_a_task_without_a_call_returns_409(client, store, broker):
    """A task that was not submitted here has no stored call."""
    store.metas["t-1"] = json.dumps({"status": "SUCCESS", "result": 42, "task_id": "t-1"}).encode()
    store.note(Note(task_id="t-2", fact=Fact.FINISHED, name="demo.add", outcome="FAILURE"))

    for task_id in ("t-1", "t-2"):
        problem_of(client.post(f"/tasks/{task_id}/retry"), 409, "task-not-repeatable")
    assert broker.sent == []


def test_an_unknown_task_returns_404(client, store):
    """Unknown and invalid ids return 404, expired ones 410."""
    store.known.add("t-2")

    problem_of(client.post("/tasks/t-1/retry"), 404, "task-not-found")
    problem_of(client.post("/tasks/*/retry"), 404, "task-not-found")
    problem_of(client.post("/tasks/t-2/retry"), 410, "task-expired")


def test_a_retry_is_checked_like_a_submission(client, store, broker, failed):
    """A call that is no longer valid is not retried."""
    store.calls[failed] = type(store.calls[failed])(name="demo.add", args=["two", 3])
    problem_of(client.post(f"/tasks/{failed}/retry"), 422, "validation")
    store.calls[failed] = type(store.calls[failed])(name="no.such.task")
    problem_of(client.post(f"/tasks/{failed}/retry"), 422, "unknown-task-type")
    store.calls[failed] = type(store.calls[failed])(name="demo.add", args=[2, 3], queue="removed")
    problem_of(client.post(f"/tasks/{failed}/retry"), 422, "unknown-queue")
    assert broker.sent == []


def test_an_idempotency_key_creates_one_retry(client, store, broker, failed):
    """A repeated key returns the first answer, even if the old task was deleted. For another request it conflicts."""
    headers = {"Idempotency-Key": "again"}
    first = client.post(f"/tasks/{failed}/retry", headers=headers)
    assert client.delete(f"/tasks/{failed}").status_code == 204

    replayed = client.post(f"/tasks/{failed}/retry", headers=headers)

    assert (replayed.status_code, replayed.data) == (202, first.data)
    assert replayed.headers["Idempotency-Replayed"] == "true"
    assert len(broker.sent) == 1
    problem_of(
        client.post("/tasks", json={"name": "demo.add", "args": [2, 3]}, headers=headers), 422, "idempotency-conflict"
    )
    store.note(Note(task_id=first.get_json()["id"], fact=Fact.REVOKED))
    other = client.post(f"/tasks/{first.get_json()['id']}/retry", headers=headers)
    problem_of(other, 422, "idempotency-conflict")
    problem_of(client.post(f"/tasks/{failed}/retry", headers={"Idempotency-Key": ""}), 422, "validation")


def test_a_retry_waits_for_the_result(client, store, broker, feed, failed):
    """A retry can wait for its result as a submission can."""

    def finish():
        store.note(Note(task_id=broker.sent[0][0], fact=Fact.FINISHED, outcome="SUCCESS", result_stored=False))

    feed.script = [finish]

    response = client.post(f"/tasks/{failed}/retry", headers={"Prefer": "wait=5"})

    assert (response.status_code, response.get_json()["state"]) == (200, "succeeded")
    assert response.headers["Preference-Applied"] == "wait=5"
