"""The fast read of one task: the same answers as through Flask."""

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.keys import MemoryKeys, bearer
from support.stored_values import ROWS, stored_bytes
from support.use_cases import create_api
from task_status_service.api.auth.authentication import Access
from task_status_service.api.auth.rate_limits import Limits
from task_status_worker.record.model import Fact, Note

META = {"status": "PROGRESS", "result": {"done": 3, "total": 10}, "traceback": None, "children": []}
#: a query that does not change the answer, but disables the fast read
BY_FLASK = "?wait=0"


@pytest.fixture
def stored(store):
    """The ids of stored tasks, one for each kind of answer."""
    store.metas["running"] = json.dumps(META).encode()
    store.metas["done"] = json.dumps({**META, "status": "SUCCESS", "result": 42}).encode()
    store.metas["unreadable"] = b"\x80garbage"
    store.note(Note(task_id="recorded", fact=Fact.SUBMITTED))
    store.note(Note(task_id="ended", fact=Fact.FINISHED, outcome="SUCCESS"))
    store.known.add("expired")
    return ["running", "done", "unreadable", "recorded", "ended", "expired", "unknown", "-invalid"]


@pytest.fixture
def disabled(tracker, submitter, feed):
    """A client of a service whose fast read is disabled."""
    return create_api(tracker, submitter, feed, fast_read=False).test_client()


def exchange(client, path, **headers):
    """Return status line, sorted headers and body of an answer, without the id of the request."""
    response = client.get(path, headers=headers)
    problem = response.get_json() if response.content_type == "application/problem+json" else None
    body = {**problem, "request_id": ""} if problem else response.data
    return response.status, sorted(response.headers), body


def test_same_answer_as_the_view(client, disabled, stored):
    """The fast read and the view return the same status, headers and bytes, with and without a known version."""
    codes = set()
    for task_id in stored:
        path = f"/tasks/{task_id}"
        etag = client.get(path).headers.get("ETag", '"none"')
        for headers in ({}, {"If-None-Match": etag}, {"If-None-Match": f'W/{etag}, "a"'}, {"If-None-Match": "*"}):
            fast = exchange(client, path, **headers)
            assert fast == exchange(client, path + BY_FLASK, **headers), (task_id, headers)
            assert fast == exchange(disabled, path, **headers), (task_id, headers)
            codes.add(fast[0])
    assert codes == {"200 OK", "304 NOT MODIFIED", "404 NOT FOUND", "410 GONE"}


#: headers that either way may read, each with values for which the answers might differ
HEADERS = {
    "Host": ["localhost", "127.0.0.1:80", "evil.example", "a b", ""],
    "Origin": ["http://localhost", "null", "https://evil.example"],
    "Sec-Fetch-Site": ["cross-site", "same-site", "same-origin", "none"],
    "If-None-Match": ["*", '"a"', 'W/"a", "b"', "a", "", '"', "*, *"],
    "Accept": ["text/html", "application/json;q=0"],
    "Accept-Encoding": ["gzip", "identity;q=0"],
    "Authorization": ["Bearer tsk_a", "Basic YTpi", "Bearer"],
    "Content-Type": ["application/json", "text/plain"],
    "Content-Encoding": ["gzip"],
    "Range": ["bytes=0-1"],
    "Expect": ["100-continue"],
    "X-Http-Method-Override": ["DELETE"],
}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(
    task_id=st.sampled_from(["running", "done", "unreadable", "ended", "expired", "unknown"]) | st.text(max_size=5),
    headers=st.fixed_dictionaries({}, optional={name: st.sampled_from(texts) for name, texts in HEADERS.items()}),
)
@pytest.mark.usefixtures("stored")
def test_same_answer_to_any_headers(client, disabled, task_id, headers):
    """No combination of headers makes a difference between the fast read and the view."""
    path = f"/tasks/{quote(task_id, safe='')}"

    assert exchange(client, path, **headers) == exchange(disabled, path, **headers)


def test_same_answer_to_keys(tracker, submitter, feed, store):
    """Denials and RateLimit headers are the same with the fast read enabled and disabled."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))
    keys = MemoryKeys()
    reader, guest = bearer(keys.add("ann")), bearer(keys.add("ben", scopes=()))
    answers = []
    for fast_read in (True, False):
        access = Access(keys, limits=Limits(1, clock_ns=lambda: 0))
        client = create_api(tracker, submitter, feed, access=access, fast_read=fast_read).test_client()
        answers.append([exchange(client, "/tasks/t-1", **key) for key in (reader, {}, guest, *[reader] * 10)])

    assert answers[0] == answers[1]
    assert [status[:3] for status, _, _ in answers[0]] == ["200", "401", "403", *["200"] * 9, "429"]


def test_same_problem_without_a_store(client, disabled, store, monkeypatch):
    """The fast read tries an unreachable store once, and returns the same problem."""
    attempts = []
    read = store.read
    monkeypatch.setattr(store, "read", lambda task_id: attempts.append(task_id) or read(task_id))
    store.down = True
    fast = exchange(client, "/tasks/a")
    assert attempts == ["a"]

    assert fast == exchange(client, "/tasks/a" + BY_FLASK)
    assert fast == exchange(disabled, "/tasks/a")
    assert fast[0] == "503 SERVICE UNAVAILABLE"


def test_no_flask_hooks(client):
    """The Flask app has no hooks, because hooks do not run on the fast read."""
    app = client.application
    hooks = (
        app.before_request_funcs,
        app.after_request_funcs,
        app.teardown_request_funcs,
        app.teardown_appcontext_funcs,
        app.url_value_preprocessors,
    )
    assert not any(hooks)


def test_head_has_no_body(client, stored):
    """A HEAD request is answered without a body."""
    response = client.head(f"/tasks/{stored[0]}")

    assert (response.status_code, response.data) == (200, b"")


def test_same_bytes_of_two_tasks(client, store):
    """Two tasks with identical stored bytes keep their own ids."""
    for task_id in ("a", "b"):
        store.metas[task_id] = json.dumps(META).encode()

    assert [client.get(f"/tasks/{task_id}").get_json()["id"] for task_id in ("a", "b", "a")] == ["a", "b", "a"]


@pytest.mark.parametrize("row", ROWS[::7], ids=lambda row: row["id"])
def test_same_answer_for_real_stored_values(client, store, row):
    """The fast read and the view return the same answer for every seventh value of the corpus."""
    stored = stored_bytes(row)
    store.metas[row["task_id"]] = [b"a list"] if stored is None else stored

    assert exchange(client, f"/tasks/{row['task_id']}") == exchange(client, f"/tasks/{row['task_id']}{BY_FLASK}")
