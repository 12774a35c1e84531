"""`POST /tasks`."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from support.problems import problem_of


@pytest.mark.usefixtures("at_present")
def test_a_submission_is_accepted(submit, broker):
    """A submission is recorded and sent, and returns 202 with its location."""
    response = submit(name="demo.add", args=[2, 3], labels={"customer": "42"})

    task = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/tasks/{task['id']}"
    assert response.headers["Retry-After"] == "1"
    assert (task["state"], task["done"], task["celery_state"]) == ("queued", False, "PENDING")
    assert (task["name"], task["queue"], task["labels"]) == ("demo.add", "sums", {"customer": "42"})
    [(task_id, submission, queue)] = broker.sent
    assert (task_id, submission.call.args, queue) == (task["id"], [2, 3], "sums")


def test_the_answer_equals_a_later_read(submit, client):
    """The 202 contains the same status as a read immediately after it."""
    submitted = submit(name="demo.add", args=[2, 3], countdown=60, expires=120, labels={"a": "b"}).get_json()

    assert client.get(f"/tasks/{submitted['id']}").get_json() == submitted


def test_a_task_is_recorded_before_it_is_sent(submit, store, broker):
    """The record exists when the message is sent, so that no poll returns 404."""
    seen = []
    send = broker.send
    broker.send = lambda task_id, *args, **kwargs: (
        seen.append(task_id in store.records),
        send(task_id, *args, **kwargs),
    )

    submit(name="demo.add", args=[2, 3])

    assert seen == [True]


def test_a_submission_is_one_round_trip_and_one_message(submit, store, broker):
    """A submission costs one round trip and one message after the catalog is read."""
    submit(name="demo.add", args=[1, 1])
    store.trips, broker.sent = 0, []

    submit(name="demo.add", args=[2, 3])

    assert (store.trips, len(broker.sent)) == (1, 1)


def test_times_queue_and_priority_are_sent(submit, broker):
    """`countdown`, `eta` and `expires` become times; `queue` and `priority` are sent with the message."""
    eta = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    task = submit(name="demo.add", args=[1, 2], eta=eta.isoformat(), expires=7200, queue="slow", priority=3).get_json()

    [(_, submission, queue)] = broker.sent
    assert submission.scheduled_for == eta
    assert (queue, submission.call.priority) == ("slow", 3)
    assert datetime.fromisoformat(task["scheduled_for"]) == eta
    assert task["scheduled_for"].endswith("Z")
    assert timedelta(minutes=110) < submission.expires_at - datetime.now(UTC) <= timedelta(hours=2)


@pytest.mark.parametrize("priority", ["3", "3.0", "30e-1"])
def test_every_form_of_an_integer_is_valid(client, broker, priority):
    """A number without a fraction is an integer in every JSON form (JSON Schema, section 6.1.1)."""
    body = f'{{"name": "demo.add", "args": [1, 2], "priority": {priority}}}'

    response = client.post("/tasks", data=body, content_type="application/json")

    assert response.status_code == 202
    [(_, submission, _)] = broker.sent
    assert repr(submission.call.priority) == "3"


@pytest.mark.usefixtures("at_present")
def test_retry_after_of_a_scheduled_task_is_its_start(submit, client):
    """`Retry-After` of a scheduled task is the time until its start, in the 202 and in reads."""
    response = submit(name="demo.add", args=[1, 2], countdown=3600)

    assert 3590 < int(response.headers["Retry-After"]) <= 3600
    assert 3590 < int(client.get(response.headers["Location"]).headers["Retry-After"]) <= 3600


@pytest.mark.parametrize(
    "name",
    [
        "no.such.task",
        "celery.backend_cleanup",
        " demo.add",
        "dem\u043e.add",
        "os.system",
        "demo.*",
    ],
)
def test_rejects_names_that_no_worker_announces(submit, broker, store, name):
    """Only announced names are accepted, in exactly the same spelling; Celery's own tasks are rejected."""
    problem_of(submit(name=name), 422, "unknown-task-type")
    assert broker.sent == []
    assert store.records == {}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ({}, ["#/name"]),
        ({"name": 3}, ["#/name"]),
        ({"name": ""}, ["#/name"]),
        ({"name": "demo.add", "surprise": 1}, ["#/surprise"]),
        ({"name": "demo.add", "link": "x", "headers": {}}, ["#/headers", "#/link"]),
        ({"name": "demo.add", "args": {}}, ["#/args"]),
        ({"name": "demo.add", "args": [1, {"__type__": "uuid", "__value__": 1}]}, ["#/args/1"]),
        ({"name": "demo.add", "kwargs": []}, ["#/kwargs"]),
        ({"name": "demo.add", "countdown": -1}, ["#/countdown"]),
        ({"name": "demo.add", "countdown": "5"}, ["#/countdown"]),
        ({"name": "demo.add", "countdown": 1, "eta": "2026-12-01T00:00:00Z"}, ["#/countdown"]),
        ({"name": "demo.add", "eta": "tomorrow"}, ["#/eta"]),
        ({"name": "demo.add", "eta": "2026-12-01T00:00:00"}, ["#/eta"]),
        ({"name": "demo.add", "eta": "0001-01-01T00:00:00+14:00"}, ["#/eta"]),
        ({"name": "demo.add", "eta": "9999-12-31T23:59:59-14:00"}, ["#/eta"]),
        ({"name": "demo.add", "expires": True}, ["#/expires"]),
        ({"name": "demo.add", "expires": []}, ["#/expires"]),
        ({"name": "demo.add", "expires": 1e300}, ["#/expires"]),
        ({"name": "demo.add", "queue": "a b"}, ["#/queue"]),
        ({"name": "demo.add", "queue": "a\n"}, ["#/queue"]),
        ({"name": "demo.add", "priority": 256}, ["#/priority"]),
        ({"name": "demo.add", "priority": 1.5}, ["#/priority"]),
        ({"name": "demo.add", "priority": True}, ["#/priority"]),
        ({"name": "demo.add", "priority": "1"}, ["#/priority"]),
        ({"name": "demo.add", "labels": {"a b": "x"}}, ["#/labels/a%20b/key"]),
        ({"name": "demo.add", "labels": {"a": 1}}, ["#/labels/a/value"]),
        ({"name": "demo.add", "labels": {f"a{number}": "€" * 250 for number in range(16)}}, ["#/labels"]),
        (["demo.add"], ["#"]),
    ],
)
def test_each_fault_has_a_pointer(client, broker, body, pointers):
    """Every fault is listed with a JSON pointer into the body."""
    problem = problem_of(client.post("/tasks", json=body), 422, "validation")

    assert sorted(error["pointer"] for error in problem["errors"]) == pointers
    assert broker.sent == []


@pytest.mark.parametrize(
    ("arguments", "pointers"),
    [
        ({"args": ["two", 3]}, ["#/args/0"]),
        ({"args": [2]}, ["#/kwargs"]),
        ({"args": [1, 2, 3]}, ["#/args"]),
        ({"args": [1, 2], "kwargs": {"x": 1}}, ["#/kwargs/x"]),
        ({"kwargs": {"x": 1, "y": None}}, ["#/kwargs/y"]),
        ({"kwargs": {"x": 1, "y": 2, "z/~": 3}}, ["#/kwargs"]),
    ],
)
def test_arguments_must_match_the_announcement(submit, broker, arguments, pointers):
    """Positional and keyword arguments must match the announced schema."""
    problem = problem_of(submit(name="demo.add", **arguments), 422, "validation")

    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert broker.sent == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": NaN}', b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000])
def test_malformed_json_returns_400(client, body):
    """A body that is not JSON returns 400 at any nesting depth."""
    response = client.post("/tasks", data=body, content_type="application/json")

    problem_of(response, 400, "malformed-json")


@pytest.mark.parametrize("arguments", ["[" * 40 + "]" * 40, f"[{2**64}]", '[{"a": 1, "a": 2}]', str([0] * 10_000)])
def test_ambiguous_or_oversized_json_returns_400(client, broker, arguments):
    """JSON over a limit, or with an ambiguous meaning, is rejected before it is sent (json_body.py)."""
    body = f'{{"name": "demo.any", "args": {arguments}}}'
    response = client.post("/tasks", data=body, content_type="application/json")

    problem_of(response, 400, "malformed-json")
    assert broker.sent == []


def test_too_large_arguments_return_422(submit, broker):
    """Arguments have their own size limit, which protects the broker and the store."""
    problem = problem_of(submit(name="demo.add", kwargs={"x": "a" * 262_144, "y": "a" * 262_144}), 422, "validation")

    assert "524288 bytes" in problem["errors"][0]["detail"]
    assert broker.sent == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types_return_415(client, content_type):
    """A body without the JSON media type is not read."""
    response = client.post("/tasks", data=json.dumps({"name": "demo.add"}), content_type=content_type)

    problem_of(response, 415, "unsupported-media-type")


def test_a_too_large_body_returns_413(client):
    """A body over the limit is rejected."""
    response = client.post("/tasks", data=b" " * 1_048_577, content_type="application/json")

    problem_of(response, 413, "payload-too-large")


def test_a_too_large_chunked_body_returns_413(client, broker):
    """A chunked body over the limit is rejected, even if its beginning is valid JSON."""
    body = b'{"name": "demo.add", "args": [1, 1]}'.ljust(1_048_576) + b', "and": "more"'
    response = client.post(
        "/tasks",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )

    problem_of(response, 413, "payload-too-large")
    assert broker.sent == []


def test_an_unreachable_store_returns_503(submit, store, broker):
    """Without the store no message is sent, and the 503 has `Retry-After`."""
    submit(name="demo.add", args=[1, 1])
    store.down, broker.sent = True, []

    response = submit(name="demo.add", args=[1, 1])

    problem_of(response, 503, "store-unavailable")
    assert response.headers["Retry-After"] == "1"
    assert broker.sent == []


def test_an_unconfirmed_send_returns_503(submit, client, store, broker):
    """An unconfirmed send returns 503, and the record has a diagnostic."""
    broker.down = True

    problem_of(submit(name="demo.add", args=[1, 1]), 503, "broker-unavailable")

    [task_id] = store.records
    diagnostics = client.get(f"/tasks/{task_id}").get_json()["diagnostics"]
    assert [diagnostic["code"] for diagnostic in diagnostics] == ["send_unconfirmed"]


@pytest.mark.parametrize(
    "queue",
    [
        # Keys of the service and of kombu: LPUSH to one of them would break every submission or every worker.
        "task-status:index:state:retrying",
        "task-status:index:owner:bob:state:retrying",
        "task-status:claim:6f0d",
        "celery-task-meta-t-1",
        "unacked",
        "unacked_index",
        "unacked_mutex",
        "worker@lab.celery.pidbox",
        "celery_other_apps_list",
        "Slow",
    ],
)
def test_unknown_queues_are_rejected(submit, broker, store, queue):
    """A queue that no live worker consumes is rejected before anything is written."""
    problem_of(submit(name="demo.add", args=[1, 2], queue=queue), 422, "unknown-queue")
    assert broker.sent == []
    assert store.records == {}


def test_consumed_queues_are_accepted(submit, broker, store):
    """A queue is accepted if a live worker announces that it consumes it."""
    store.consumer_entries["w-1"] = b'{"task_types": [], "queues": ["fast"]}'

    assert submit(name="demo.add", args=[1, 2], queue="fast").status_code == 202
    assert [queue for _, _, queue in broker.sent] == ["fast"]
