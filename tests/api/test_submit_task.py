"""`POST /tasks`."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from support.problems import problem_of


@pytest.mark.usefixtures("at_present")
def test_accepts(submit, broker):
    """A submission is recorded, sent with the id of the answer, and answered 202 with where to look."""
    response = submit(name="demo.add", args=[2, 3], labels={"customer": "42"})

    task = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/tasks/{task['id']}"
    assert response.headers["Retry-After"] == "1"
    assert (task["state"], task["done"], task["celery_state"]) == ("queued", False, "PENDING")
    assert (task["name"], task["queue"], task["labels"]) == ("demo.add", "sums", {"customer": "42"})
    [(task_id, submission, queue)] = broker.sent
    assert (task_id, submission.call.args, queue) == (task["id"], [2, 3], "sums")


def test_answer_is_what_a_read_gives(submit, client):
    """The 202 is the status that a read right after it gives, in every field."""
    submitted = submit(name="demo.add", args=[2, 3], countdown=60, expires=120, labels={"a": "b"}).get_json()

    assert client.get(f"/tasks/{submitted['id']}").get_json() == submitted


def test_records_before_it_sends(submit, store, broker):
    """A poll that races the 202 never sees 404: when the message goes out the record is there."""
    seen = []
    send = broker.send
    broker.send = lambda task_id, *args, **kwargs: (
        seen.append(task_id in store.records),
        send(task_id, *args, **kwargs),
    )

    submit(name="demo.add", args=[2, 3])

    assert seen == [True]


def test_one_trip_and_one_publish(submit, store, broker):
    """A submission costs one round trip to the store and one publish, once the catalog is read."""
    submit(name="demo.add", args=[1, 1])
    store.trips, broker.sent = 0, []

    submit(name="demo.add", args=[2, 3])

    assert (store.trips, len(broker.sent)) == (1, 1)


def test_schedules(submit, broker):
    """`countdown`, `eta` and `expires` become times; `queue` and `priority` go with the message."""
    eta = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    task = submit(name="demo.add", args=[1, 2], eta=eta.isoformat(), expires=7200, queue="slow", priority=3).get_json()

    [(_, submission, queue)] = broker.sent
    assert submission.scheduled_for == eta
    assert (queue, submission.call.priority) == ("slow", 3)
    assert datetime.fromisoformat(task["scheduled_for"]) == eta
    assert task["scheduled_for"].endswith("Z")
    assert timedelta(minutes=110) < submission.expires_at - datetime.now(UTC) <= timedelta(hours=2)


@pytest.mark.parametrize("priority", ["3", "3.0", "30e-1"])
def test_whole_numbers(client, broker, priority):
    """A whole number is one however JSON writes it (JSON Schema, section 6.1.1)."""
    body = f'{{"name": "demo.add", "args": [1, 2], "priority": {priority}}}'

    response = client.post("/tasks", data=body, content_type="application/json")

    assert response.status_code == 202
    [(_, submission, _)] = broker.sent
    assert repr(submission.call.priority) == "3"


@pytest.mark.usefixtures("at_present")
def test_says_to_come_back_at_its_time(submit, client):
    """There is nothing to see of a task before it may start: the answer says so as a read does."""
    response = submit(name="demo.add", args=[1, 2], countdown=3600)

    assert 3590 < int(response.headers["Retry-After"]) <= 3600
    assert 3590 < int(client.get(response.headers["Location"]).headers["Retry-After"]) <= 3600


@pytest.mark.parametrize(
    "name",
    [
        "no.such.task",
        "celery.backend_cleanup",
        " demo.add",
        "demo.add\n",
        "dem\u043e.add",
        "os.system",
        "demo.*",
        "\x00",
    ],
)
def test_refuses_names_that_no_worker_announces(submit, broker, store, name):
    """Only what workers announce may be submitted, exactly as announced; Celery's own tasks never."""
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
        ({"name": "demo.add", "labels": {f"a{number}": "€" * 250 for number in range(32)}}, ["#/labels"]),
        (["demo.add"], ["#"]),
    ],
)
def test_names_what_is_wrong(client, broker, body, pointers):
    """Every fault is listed with a pointer into the body."""
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
def test_checks_arguments(submit, broker, arguments, pointers):
    """Arguments by position or by name must fit what the worker announced."""
    problem = problem_of(submit(name="demo.add", **arguments), 422, "validation")

    assert [error["pointer"] for error in problem["errors"]] == pointers
    assert broker.sent == []


@pytest.mark.parametrize("body", [b"", b"{", b'{"name": NaN}', b"\xff", b'{"name": "\\ud800"}', b"[" * 100_000])
def test_malformed_json(client, body):
    """What is not JSON is a malformed request, however deep it is nested."""
    response = client.post("/tasks", data=body, content_type="application/json")

    problem_of(response, 400, "malformed-json")


@pytest.mark.parametrize("arguments", ["[" * 40 + "]" * 40, f"[{2**64}]", '[{"a": 1, "a": 2}]', str([0] * 10_000)])
def test_bounds_of_json(client, broker, arguments):
    """What is beyond a bound, or may be read in two ways, is refused before it is sent (json_body.py)."""
    body = f'{{"name": "demo.any", "args": {arguments}}}'
    response = client.post("/tasks", data=body, content_type="application/json")

    problem_of(response, 400, "malformed-json")
    assert broker.sent == []


def test_large_arguments(submit, broker):
    """What the broker and the store keep of one task is bounded by itself."""
    problem = problem_of(submit(name="demo.add", kwargs={"x": "a" * 262_144, "y": "a" * 262_144}), 422, "validation")

    assert "524288 bytes" in problem["errors"][0]["detail"]
    assert broker.sent == []


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types(client, content_type):
    """A body that does not say it is JSON is not read."""
    response = client.post("/tasks", data=json.dumps({"name": "demo.add"}), content_type=content_type)

    problem_of(response, 415, "unsupported-media-type")


def test_too_large(client):
    """A body over the limit is refused."""
    response = client.post("/tasks", data=b" " * 1_048_577, content_type="application/json")

    problem_of(response, 413, "payload-too-large")


def test_too_large_in_chunks(client, broker):
    """A body that does not say its length is not cut to what may be valid by itself."""
    body = b'{"name": "demo.add", "args": [1, 1]}'.ljust(1_048_576) + b', "and": "more"'
    response = client.post(
        "/tasks",
        input_stream=io.BytesIO(body),
        content_type="application/json",
        environ_overrides={"wsgi.input_terminated": True},
    )

    problem_of(response, 413, "payload-too-large")
    assert broker.sent == []


def test_store_down(submit, store, broker):
    """Without the store nothing is sent, and the answer says when to try again."""
    submit(name="demo.add", args=[1, 1])
    store.down, broker.sent = True, []

    response = submit(name="demo.add", args=[1, 1])

    problem_of(response, 503, "store-unavailable")
    assert response.headers["Retry-After"] == "1"
    assert broker.sent == []


def test_broker_down(submit, client, store, broker):
    """A send that is not confirmed is a 503, and the record says that it may not have been sent."""
    broker.down = True

    problem_of(submit(name="demo.add", args=[1, 1]), 503, "broker-unavailable")

    [task_id] = store.records
    diagnostics = client.get(f"/tasks/{task_id}").get_json()["diagnostics"]
    assert [diagnostic["code"] for diagnostic in diagnostics] == ["send_unconfirmed"]
