"""Each version is decoded once, and a cached status equals a newly decoded one."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.stored_values import ROWS, ROWS_BY_ID, snapshot_of
from task_status_service.status import MAX_INLINE_SIZE, Snapshot, Visibility, cache
from task_status_service.status.cache import MAX_CACHED_BYTES, StatusCache
from task_status_service.use_cases.listing import MAX_LISTED_SIZE


@pytest.fixture
def decoded_ids(monkeypatch):
    """The ids of the decoded tasks, appended with each decoding."""
    ids = []
    decode = cache.decode
    monkeypatch.setattr(
        cache, "decode", lambda snapshot, **how: ids.append(snapshot.task_id) or decode(snapshot, **how)
    )
    return ids


def snapshot(task_id, **meta):
    """Return the snapshot of a running task."""
    return Snapshot(task_id=task_id, meta=json.dumps({"status": "PROGRESS", "result": {}, **meta}).encode())


def test_an_unchanged_status_is_decoded_once(decoded_ids):
    """A cached status is returned without decoding, until the snapshot changes."""
    statuses = StatusCache({}, Visibility.OPERATOR)

    assert statuses.decoded(snapshot("a")) is statuses.decoded(snapshot("a"))
    assert statuses.decoded(snapshot("a", status="SUCCESS")).status.done
    assert decoded_ids == ["a", "a"]


def test_the_cache_is_limited(decoded_ids, monkeypatch):
    """The oldest status is removed when the cache is full, and a long one is not cached; both are decoded again."""
    monkeypatch.setattr(cache, "MAX_CACHED", 2)
    statuses = StatusCache({}, Visibility.OPERATOR)

    for task_id in ("a", "b", "c", "c", "b", "a"):
        statuses.decoded(snapshot(task_id))
    for _ in range(2):
        statuses.decoded(snapshot("long", result="x" * MAX_CACHED_BYTES))

    assert decoded_ids == ["a", "b", "c", "a", "long", "long"]


def test_a_result_that_a_list_omits_is_in_the_status_of_the_task():
    """A list omits long results; a later read of the task alone contains them."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    large = snapshot("a", status="SUCCESS", result="x" * (MAX_LISTED_SIZE + 1))

    assert statuses.decoded(large, inline_size=MAX_LISTED_SIZE).status.result is None
    assert statuses.decoded(large).status.result is not None


def test_versions_differ_by_task_and_settings():
    """The same bytes have another version for another task, another setting or another visibility."""
    custom = [Snapshot(task_id=task_id, meta=b'{"status": "PARTIAL"}') for task_id in "ab"]
    versions = {
        StatusCache(states, view).version(snapshot)
        for snapshot in custom
        for states in ({}, {"PARTIAL": "succeeded"})
        for view in Visibility
    }

    assert len(versions) == 8


#: a name that is cut; its status is short, but its full length exceeds the limit of a list
CUT = ROWS_BY_ID["h-big-exctype"]


@settings(deadline=None)
@example([(CUT, MAX_INLINE_SIZE), (CUT, MAX_LISTED_SIZE)])
@given(st.lists(st.tuples(st.sampled_from(ROWS), st.sampled_from([MAX_LISTED_SIZE, MAX_INLINE_SIZE])), max_size=30))
def test_cached_statuses_equal_decoded_ones(reads):
    """Stored values of the corpus, read alone or in a list, in any order and repeatedly."""
    caching = StatusCache({}, Visibility.OPERATOR)

    for row, inline_size in reads:
        fresh = StatusCache({}, Visibility.OPERATOR).decoded(snapshot_of(row), inline_size=inline_size)
        assert caching.decoded(snapshot_of(row), inline_size=inline_size) == fresh
