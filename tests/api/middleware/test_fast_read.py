"""The plain read of one task, which does not go through Flask: told apart from the view's by nothing but its speed."""

import json

import pytest
from support.stored_values import ROWS, stored_bytes
from task_status_worker.record.model import Fact, Note

META = {"status": "PROGRESS", "result": {"done": 3, "total": 10}, "traceback": None, "children": []}
#: a query that changes nothing, and makes Flask answer
BY_FLASK = "?wait=0"


@pytest.fixture
def stored(store):
    """Store tasks of every kind that the answer depends on; give their ids."""
    store.metas["running"] = json.dumps(META).encode()
    store.metas["done"] = json.dumps({**META, "status": "SUCCESS", "result": 42}).encode()
    store.metas["unreadable"] = b"\x80garbage"
    store.note(Note(task_id="recorded", fact=Fact.SUBMITTED))
    store.note(Note(task_id="ended", fact=Fact.FINISHED, outcome="SUCCESS"))
    store.known.add("expired")
    return ["running", "done", "unreadable", "recorded", "ended", "expired", "unheard-of", "-no-id"]


def exchange(client, path, **headers):
    """Give status, headers in any order and body of an answer; the id of a request is its own."""
    response = client.get(path, headers=headers)
    problem = response.get_json() if response.content_type == "application/problem+json" else None
    body = {**problem, "request_id": ""} if problem else response.data
    return response.status_code, sorted(response.headers), body


def test_same_answer_as_the_view(client, stored):
    """Status, headers and bytes are those of the view: of 200, 304, 404 and 410, with and without a version."""
    codes = set()
    for task_id in stored:
        path = f"/tasks/{task_id}"
        etag = client.get(path).headers.get("ETag", '"none"')
        for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": f'W/{etag}, "a"'}, {"If-None-Match": "*"}):
            express = exchange(client, path, **headers)
            assert express == exchange(client, path + BY_FLASK, **headers), (task_id, headers)
            codes.add(express[0])
    assert codes == {200, 304, 404, 410}


def test_same_problem_without_a_store(client, store, monkeypatch):
    """A store that is away is asked once, and reads the same."""
    asked = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda task_id: asked.append(task_id) or read(task_id))
    store.down = True
    express = exchange(client, "/tasks/a")
    assert asked == ["a"]

    assert express == exchange(client, "/tasks/a" + BY_FLASK)
    assert express[0] == 503


def test_head_has_no_body(client, stored):
    """Another method is Flask's."""
    response = client.head(f"/tasks/{stored[0]}")

    assert (response.status_code, response.data) == (200, b"")


def test_same_bytes_of_two_tasks(client, store):
    """Two tasks of which the very same is stored are still two."""
    for task_id in ("a", "b"):
        store.metas[task_id] = json.dumps(META).encode()

    assert [client.get(f"/tasks/{task_id}").get_json()["id"] for task_id in ("a", "b", "a")] == ["a", "b", "a"]


@pytest.mark.parametrize("row", ROWS[::7], ids=lambda row: row["id"])
def test_same_status_of_what_is_really_stored(client, store, row):
    """Real stored values, every seventh."""
    stored = stored_bytes(row)
    store.metas[row["task_id"]] = [b"a list"] if stored is None else stored

    assert exchange(client, f"/tasks/{row['task_id']}") == exchange(client, f"/tasks/{row['task_id']}{BY_FLASK}")
