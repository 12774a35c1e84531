"""`GET /tasks/{id}`."""

import json

import pytest
from support.problems import problem_of
from support.use_cases import create_api, create_tracker
from task_status_service.status import TaskState
from task_status_service.status.cache import StatusCache
from task_status_worker.record.model import Fact, Note

META = {"status": "PROGRESS", "result": {"done": 3, "total": 10}, "traceback": None, "children": [], "task_id": "t-1"}


def test_reads_a_task_without_a_record(client, store):
    """A task that was not submitted here is read from Celery's meta."""
    store.metas["t-1"] = json.dumps(META).encode()

    response = client.get("/tasks/t-1")

    task = response.get_json()
    assert response.status_code == 200
    assert response.content_type == "application/json"
    assert response.headers["Retry-After"] == "1"
    assert (task["state"], task["celery_state"], task["progress"]["percent"]) == ("running", "PROGRESS", 30.0)


def test_a_status_has_all_keys(client, store):
    """A status always has all 30 keys."""
    store.metas["t-1"] = json.dumps(META).encode()

    task = client.get("/tasks/t-1").get_json()

    assert len(task) == 30
    assert task["expires_at"] is None
    assert task["labels"] == {}


def test_a_done_task_has_no_retry_after(client, store):
    """The answer for a task that is done has no `Retry-After`."""
    store.metas["t-1"] = json.dumps({**META, "status": "SUCCESS", "result": 42}).encode()

    response = client.get("/tasks/t-1")

    assert response.get_json()["result"] == 42
    assert "Retry-After" not in response.headers


def test_a_read_is_one_round_trip(client, store):
    """A read costs one round trip to the store."""
    store.metas["t-1"] = json.dumps(META).encode()

    client.get("/tasks/t-1")

    assert store.trips == 1


def test_an_unknown_id_returns_404(client):
    """An unknown id returns 404, and not a pending task."""
    problem = problem_of(client.get("/tasks/t-1"), 404, "task-not-found")

    assert problem["instance"] == "/tasks/t-1"


def test_an_expired_task_returns_410(client, store):
    """The id of an expired task returns 410."""
    store.known.add("t-1")

    problem_of(client.get("/tasks/t-1"), 410, "task-expired")


@pytest.mark.parametrize(
    "task_id", ["-a", ".a", "a b", "a%00", "a%0d%0ab", "a%0a", "*", "?", "[a]", "%F0%9F%98%80", "a" * 129, "a" * 8_000]
)
def test_an_invalid_id_is_not_looked_up(client, store, task_id):
    """An invalid id returns 404 without a read of the store."""
    problem_of(client.get(f"/tasks/{task_id}".replace("?", "%3F")), 404, "task-not-found")

    assert store.trips == 0


def test_an_unreachable_store_returns_503(client, store):
    """A read without the store returns 503 with `Retry-After`."""
    store.down = True

    response = client.get("/tasks/t-1")

    problem_of(response, 503, "store-unavailable")
    assert response.headers["Retry-After"] == "1"


def test_an_unreadable_value_reads_as_unknown(client, store):
    """Any stored value results in a status, if only `unknown`."""
    store.metas["t-1"] = b"\x80garbage"
    store.metas["t-2"] = [b"a list"]

    for task_id in ("t-1", "t-2"):
        response = client.get(f"/tasks/{task_id}")
        assert (response.status_code, response.get_json()["state"]) == (200, "unknown")


def test_a_known_version_returns_304(client, store):
    """Each form of `If-None-Match` with the current version returns 304 without a body."""
    store.metas["t-1"] = json.dumps(META).encode()
    first = client.get("/tasks/t-1")
    etag = first.headers["ETag"]
    assert etag.startswith('"')

    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get("/tasks/t-1", headers={"If-None-Match": known})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == etag
        assert again.headers["Retry-After"] == "1"
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"] == "private, no-cache"

    assert client.get("/tasks/t-1", headers={"If-None-Match": '"other"'}).status_code == 200


def test_a_304_decodes_nothing(client, store, monkeypatch):
    """A poll of an unchanged task costs only a read and a hash."""
    store.metas["t-1"] = json.dumps(META).encode()
    etag = client.get("/tasks/t-1").headers["ETag"]
    monkeypatch.setattr(StatusCache, "decoded", lambda *_, **__: pytest.fail("decoded"))

    assert client.get("/tasks/t-1", headers={"If-None-Match": etag}).status_code == 304


def test_every_change_changes_the_version(client, store):
    """A change of the meta, the record or the type of the key changes the ETag."""
    seen = []
    for change in (
        lambda: store.metas.update({"t-1": b'{"status": "STARTED"}'}),
        lambda: store.metas.update({"t-1": json.dumps(META).encode()}),
        lambda: store.note(Note(task_id="t-1", fact=Fact.RECEIVED)),
        lambda: store.note(Note(task_id="t-1", fact=Fact.STARTED)),
        lambda: store.records["t-1"].update({b"cancel_requested": b"1"}),
        lambda: store.metas.update({"t-1": [b"a list"]}),
        lambda: store.metas.pop("t-1"),
    ):
        change()
        response = client.get("/tasks/t-1", headers={"If-None-Match": ", ".join(seen)})
        assert response.status_code == 200
        seen.append(response.headers["ETag"])
    assert len(set(seen)) == 7


def test_settings_are_part_of_the_version(store, broker, submitter, feed):
    """Another meaning of a custom state changes the ETag of the same bytes."""
    store.metas["t-1"] = b'{"status": "PARTIAL"}'
    etags = set()
    for final_states in ({}, {"PARTIAL": TaskState.SUCCEEDED}):
        tracker = create_tracker(store, broker, final_states=final_states)
        etags.add(create_api(tracker, submitter, feed).test_client().get("/tasks/t-1").headers["ETag"])
    assert len(etags) == 2


def test_a_done_task_is_cacheable(client, store):
    """A final status can be cached for a minute, and a 304 has the same header."""
    store.note(Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS"))

    response = client.get("/tasks/t-1")
    again = client.get("/tasks/t-1", headers={"If-None-Match": response.headers["ETag"]})

    assert again.status_code == 304
    for answer in (response, again):
        assert answer.headers["Cache-Control"] == "private, max-age=60"
        assert "Retry-After" not in answer.headers


def test_not_found_is_never_304(client):
    """An unknown task returns 404 even if `If-None-Match` is `*`, which matches any version."""
    problem_of(client.get("/tasks/t-1", headers={"If-None-Match": "*"}), 404, "task-not-found")
