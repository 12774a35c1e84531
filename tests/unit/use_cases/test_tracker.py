"""The tracker: one read of the store for each status, and nothing decoded for a known version."""

import json

import pytest
from task_status_service.access.caller import ANYBODY
from task_status_service.errors import TaskNotFound
from task_status_service.status.cache import StatusCache
from task_status_service.use_cases.tracker import CurrentStatus, NotModified

META = json.dumps({"status": "SUCCESS", "result": 42}).encode()


def test_reads_a_status_in_one_trip(tracker, store, monkeypatch):
    """A status needs one read of the store."""
    store.metas["t-1"] = META
    reads = []
    monkeypatch.setattr(store, "read", lambda task_id: reads.append(task_id) or type(store).read(store, task_id))

    found = tracker.status_of("t-1", ANYBODY)

    assert isinstance(found, CurrentStatus)
    assert found.cached.status.result == 42
    assert reads == ["t-1"]


def test_decodes_nothing_for_a_known_version(tracker, store, monkeypatch):
    """A caller that knows the version gets `NotModified`, and the snapshot is not decoded."""
    store.metas["t-1"] = META
    version = tracker.status("t-1", ANYBODY).version
    monkeypatch.setattr(StatusCache, "decoded", lambda *_, **__: pytest.fail("decoded"))

    found = tracker.status_of("t-1", ANYBODY, {version})

    assert isinstance(found, NotModified)
    assert found.version == version


def test_reads_a_status_with_another_version(tracker, store):
    """A caller that knows only other versions gets the status."""
    store.metas["t-1"] = META

    assert isinstance(tracker.status_of("t-1", ANYBODY, {"other"}), CurrentStatus)


def test_reads_a_result_unless_its_version_is_known(tracker, store):
    """A result has the version of its status."""
    store.metas["t-1"] = META
    found = tracker.result_of("t-1", ANYBODY)

    assert (found.value, found.version) == (42, tracker.status("t-1", ANYBODY).version)
    assert isinstance(tracker.result_of("t-1", ANYBODY, {found.version}), NotModified)


@pytest.mark.parametrize("read", ["status", "status_of", "result_of"])
def test_an_unknown_task_is_not_found(tracker, read):
    """Each way to read an unknown task raises the same error."""
    with pytest.raises(TaskNotFound):
        getattr(tracker, read)("t-1", ANYBODY)
