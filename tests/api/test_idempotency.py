"""`Idempotency-Key`: a repeated request creates no second task, even if the first request failed."""

from datetime import timedelta

import pytest
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.errors import StoreUnavailable
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submission import CLAIM_SECONDS, LEASE_SECONDS
from task_status_service.use_cases.submitter import Submitter
from task_status_worker.record.model import Fact, Note

BODY = {"name": "demo.add", "kwargs": {"x": 2, "y": 3}, "labels": {"customer": "42"}}


@pytest.fixture
def send(client):
    """A function that submits with a key."""

    def send(key="order-1", path="/tasks", **body):
        return client.post(path, json=body or BODY, headers={"Idempotency-Key": key})

    return send


def test_a_repeated_request_returns_the_first_answer(send, client, store, broker):
    """A repeated request returns the first answer byte for byte, even if the task has changed, and sends nothing."""
    first = send()
    task_id = first.get_json()["id"]
    store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="FAILURE"))

    again = send()

    assert (again.status_code, again.data) == (202, first.data)
    for name in ("Location", "Retry-After"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert [sent for sent, *_ in broker.sent] == [task_id]
    assert client.get("/tasks?limit=5").get_json()["items"][0]["state"] == "failed"
    assert len(store.records) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"countdown": 600.5, "expires": 3600},
        {"eta": "2030-01-02T03:04:05.678901+02:00"},
        {"queue": "slow", "priority": 3},
        {"labels": {"z": "é" * 200, "a": "", "m": "\U0001f600"}},
    ],
)
def test_the_first_answer_is_rebuilt_with_all_options(send, store, options):
    """The first answer is repeated byte for byte with any options, even if the task was forgotten meanwhile."""
    first = send(name="demo.add", args=[2, 3], **options)
    store.records.clear()

    assert send(name="demo.add", args=[2, 3], **options).data == first.data
    assert store.claims["", "order-1"].answer[:1] != b"{"


def test_an_unreadable_answer_is_replaced_by_the_status(send, store):
    """If the stored answer is unreadable, the present status is returned."""
    first = send()
    store.claims["", "order-1"].answer = b"\xc1garbage"

    assert send().data == first.data


def test_another_body_is_a_conflict(send, broker):
    """A key with another body is rejected."""
    send()

    problem_of(send(name="demo.add", args=[2, 3]), 422, "idempotency-conflict")
    assert len(broker.sent) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"labels": {"customer": "42"}, "kwargs": {"y": 3, "x": 2}, "name": "demo.add"}',
        b'{"name":"demo.add","kwargs":{"x":2,"y":3},"labels":{"customer":"42"}}',
        b'{"name":"d\\u0065mo.add","kwargs":{"x":2,"y":3},"labels":{"customer":"42"}}',
    ],
)
def test_the_form_of_the_body_is_ignored(send, client, body):
    """Bodies with the same JSON values are the same request."""
    send()

    again = client.post("/tasks", data=body, content_type="application/json", headers={"Idempotency-Key": "order-1"})

    assert again.headers["Idempotency-Replayed"] == "true"


def test_the_order_of_labels_is_ignored(send):
    """The answer is the same for labels in any order."""
    first = send(name="demo.add", args=[2, 3], labels={"z": "1", "a": "2"})

    assert send(name="demo.add", args=[2, 3], labels={"a": "2", "z": "1"}).data == first.data
    assert list(first.get_json()["labels"]) == ["a", "z"]


def test_other_keys_create_other_tasks(send, submit, broker):
    """Each different key, and each request without a key, creates a task; keys are case-sensitive."""
    tasks = {
        response.get_json()["id"] for response in (send("a"), send("A"), send("a:b"), submit(**BODY), submit(**BODY))
    }

    assert len(tasks) == len(broker.sent) == 5


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "é", "\x7f", "x" * 256])
def test_an_invalid_key_returns_422(send, broker, key):
    """An invalid key returns 422 with the name of the header, and nothing is submitted."""
    problem = problem_of(send(key), 422, "validation")

    assert [error["parameter"] for error in problem["errors"]] == ["Idempotency-Key"]
    assert broker.sent == []


@pytest.mark.parametrize("key", ["x" * 255, "!", "~", '"quoted"', "*?[a]\\{}%00", "task-status:claim:"])
def test_any_visible_ascii_is_a_key(send, key):
    """Any visible ASCII characters are a valid key, and are used unchanged."""
    first, again = send(key), send(key)

    assert first.status_code == 202
    assert again.data == first.data


def test_a_rejected_request_claims_nothing(send, store, broker):
    """A corrected request can use the key of a rejected one."""
    problem_of(send(name="demo.add", args=["two", 3]), 422, "validation")
    problem_of(send(name="no.such.task"), 422, "unknown-task-type")
    problem_of(send(name="demo.add", surprise=1), 422, "validation")
    assert store.claims == {}

    assert send().status_code == 202
    assert len(broker.sent) == 1


def test_a_concurrent_request_returns_409(send, broker):
    """A request with the key of one in progress returns 409 with `Retry-After`, and sends nothing."""
    answers = []
    original = broker.send
    broker.send = lambda *args, **kwargs: (answers.append(send()), original(*args, **kwargs))

    assert send().status_code == 202

    problem_of(answers[0], 409, "idempotency-in-flight")
    assert answers[0].headers["Retry-After"] == "1"
    assert len(broker.sent) == 1


def test_a_request_can_be_repeated_after_a_failed_send(send, client, store, broker):
    """After a 503 the same request sends the same task id, without waiting for the lease."""
    broker.down = True
    problem_of(send(), 503, "broker-unavailable")
    [task_id] = store.records
    assert [one["code"] for one in client.get(f"/tasks/{task_id}").get_json()["diagnostics"]] == ["send_unconfirmed"]
    problem_of(send(), 503, "broker-unavailable")
    problem_of(send(name="demo.add", args=[1, 1]), 422, "idempotency-conflict")

    broker.down = False
    answer = send()

    assert (answer.status_code, answer.get_json()["id"], answer.get_json()["diagnostics"]) == (202, task_id, [])
    assert "Idempotency-Replayed" not in answer.headers
    assert [sent for sent, *_ in broker.sent] == [task_id]
    assert client.get(f"/tasks/{task_id}").get_json() == answer.get_json()
    assert send().data == answer.data
    assert len(store.records) == 1


def test_a_request_can_be_repeated_after_a_full_broker(send, store, broker):
    """A full broker is a full store; once it has room, the same request sends the same task id."""
    broker.full = True
    problem_of(send(), 503, "store-full")
    [task_id] = store.records
    broker.full = False

    assert send().get_json()["id"] == task_id
    assert [sent for sent, *_ in broker.sent] == [task_id]


class Killed(BaseException):
    """The server was killed."""


def killed(*_, **__):
    """Raise `Killed`."""
    raise Killed


def kill_before(send, part, method):
    """Submit, and kill the server before it calls a method."""
    original = getattr(part, method)
    setattr(part, method, killed)
    with pytest.raises(Killed):
        send()
    setattr(part, method, original)


def test_a_crash_before_the_send(send, store, broker):
    """After the lease, the next request sends the recorded task id."""
    kill_before(send, broker, "send")
    [task_id] = store.records
    problem_of(send(), 409, "idempotency-in-flight")

    store.time += timedelta(seconds=LEASE_SECONDS)
    answer = send()

    assert (answer.status_code, answer.get_json()["id"]) == (202, task_id)
    assert [sent for sent, *_ in broker.sent] == [task_id]
    assert send().headers["Idempotency-Replayed"] == "true"


def test_a_crash_after_the_send(send, store, broker):
    """If no worker has received the task, the next request sends the same id again; the worker kit runs it once."""
    kill_before(send, store, "end_lease")

    store.time += timedelta(seconds=LEASE_SECONDS)
    answer = send()

    assert [sent for sent, *_ in broker.sent] == [answer.get_json()["id"]] * 2


@pytest.mark.parametrize("fact", [Fact.RECEIVED, Fact.STARTED, Fact.FINISHED])
def test_a_crash_after_a_worker_received_the_task(send, store, broker, fact):
    """The next request sends nothing, and returns the current status."""
    kill_before(send, store, "end_lease")
    [task_id] = store.records
    store.note(Note(task_id=task_id, fact=fact, outcome="SUCCESS" if fact is Fact.FINISHED else None))

    store.time += timedelta(seconds=LEASE_SECONDS)
    answer = send()

    assert (answer.status_code, answer.get_json()["id"]) == (200 if fact is Fact.FINISHED else 202, task_id)
    assert len(broker.sent) == 1
    assert send().data == answer.data


def test_a_resumed_request_keeps_the_recorded_times(send, store, broker):
    """A request that resumes another one sends the times in the record."""
    body = {"name": "demo.add", "args": [2, 3], "countdown": 600, "expires": 3600}
    broker.down = True
    problem_of(send(**body), 503, "broker-unavailable")
    broker.down = False
    [record] = store.records.values()

    answer = send(**body).get_json()

    [(_, submission, _)] = broker.sent
    assert round(submission.scheduled_for.timestamp() * 1000) == int(record[b"scheduled_for"])
    assert round(submission.expires_at.timestamp() * 1000) == int(record[b"expires_at"])
    assert answer["scheduled_for"] == submission.scheduled_for.isoformat().replace("+00:00", "Z")


def test_a_resumed_request_records_an_expired_task(send, store, broker):
    """A request that resumes another one records the task again if its record has expired."""
    kill_before(send, broker, "send")
    [task_id] = store.records
    del store.records[task_id]

    store.time += timedelta(seconds=LEASE_SECONDS)

    assert send().get_json()["id"] == task_id
    assert task_id in store.records


def test_a_sent_task_is_accepted_if_its_lease_cannot_end(send, store, broker):
    """A sent task is accepted; after the lease, the next request returns its status."""

    def unavailable(*_):
        raise StoreUnavailable

    end_lease, store.end_lease = store.end_lease, unavailable
    first = send()
    assert first.status_code == 202
    problem_of(send(), 409, "idempotency-in-flight")

    store.end_lease = end_lease
    store.note(Note(task_id=first.get_json()["id"], fact=Fact.RECEIVED))
    store.time += timedelta(seconds=LEASE_SECONDS)
    assert send().get_json()["id"] == first.get_json()["id"]
    assert len(broker.sent) == 1


def test_a_replay_needs_no_announced_type(send, store, broker, tracker, feed):
    """The first answer is returned even if the type is no longer announced, also by another server."""
    first = send()
    store.announced.clear()
    submitter = Submitter(tracker, store, broker, Catalog(store), default_queue="celery")
    elsewhere = create_api(tracker, submitter, feed).test_client()

    def send_elsewhere(key):
        return elsewhere.post("/tasks", json=BODY, headers={"Idempotency-Key": key})

    assert send_elsewhere("order-1").data == first.data
    problem = problem_of(send_elsewhere("order-2"), 503, "not-ready")
    assert "Retry-After" in elsewhere.post("/tasks", json=BODY).headers
    assert "install(app)" in problem["detail"]


def test_a_key_expires_after_a_day(send, store):
    """After a day a key creates a new task."""
    first = send()
    store.time += timedelta(seconds=CLAIM_SECONDS - 1)
    assert send().data == first.data
    store.time += timedelta(seconds=1)

    assert send().get_json()["id"] != first.get_json()["id"]


def test_a_wait_does_not_change_the_request(send, store, feed):
    """The same request with another wait is a replay; a replay with a wait returns the final status."""
    task_id = send().get_json()["id"]
    feed.script = [lambda: store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="FAILURE"))]

    answer = send(path="/tasks?wait=5")

    assert (answer.status_code, answer.get_json()["state"]) == (200, "failed")
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert send().get_json()["state"] == "queued"


def test_a_key_costs_one_more_round_trip(send, submit, store):
    """A key adds one round trip after the send; a replay costs one in total."""
    submit(**BODY)

    def trips_of(request):
        store.trips = 0
        request()
        return store.trips

    assert [trips_of(request) for request in (lambda: submit(**BODY), send, send)] == [1, 2, 1]


def test_an_unreachable_store_returns_503(send, store, broker):
    """Without the store nothing is claimed, recorded or sent."""
    send("warm")
    store.down, broker.sent = True, []

    problem_of(send(), 503, "store-unavailable")
    assert broker.sent == []
