"""Each version is decoded once, and what was remembered is what would be decoded."""

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
    """Give the list of ids that are really decoded, as it grows."""
    ids = []
    decode = cache.decode
    monkeypatch.setattr(
        cache, "decode", lambda snapshot, **how: ids.append(snapshot.task_id) or decode(snapshot, **how)
    )
    return ids


def snapshot(task_id, **meta):
    """Give what is read of a running task."""
    return Snapshot(task_id=task_id, meta=json.dumps({"status": "PROGRESS", "result": {}, **meta}).encode())


def test_once(decoded_ids):
    """What was said once is said again without decoding, until it changes."""
    its = StatusCache({}, Visibility.OPERATOR)

    assert its.decoded(snapshot("a")) is its.decoded(snapshot("a"))
    assert its.decoded(snapshot("a", status="SUCCESS")).status.done
    assert decoded_ids == ["a", "a"]


def test_no_more_than_it_may(decoded_ids, monkeypatch):
    """Neither too many statuses nor long ones; what is forgotten is decoded again."""
    monkeypatch.setattr(cache, "MAX_CACHED", 2)
    its = StatusCache({}, Visibility.OPERATOR)

    for task_id in ("a", "b", "c", "c", "b", "a"):
        its.decoded(snapshot(task_id))
    for _ in range(2):
        its.decoded(snapshot("long", result="x" * MAX_CACHED_BYTES))

    assert decoded_ids == ["a", "b", "c", "a", "long", "long"]


def test_what_a_list_leaves_out_is_not_left_out_elsewhere():
    """A list cuts long results; whoever reads the task alone afterwards gets the whole."""
    its = StatusCache({}, Visibility.OPERATOR)
    large = snapshot("a", status="SUCCESS", result="x" * (MAX_LISTED_SIZE + 1))

    assert its.decoded(large, inline_size=MAX_LISTED_SIZE).status.result is None
    assert its.decoded(large).status.result is not None


def test_versions_tell_tasks_and_settings_apart():
    """The same bytes of another task, or under other settings, or seen from elsewhere, are another version."""
    custom = [Snapshot(task_id=task_id, meta=b'{"status": "PARTIAL"}') for task_id in "ab"]
    versions = {
        StatusCache(states, view).version(one)
        for one in custom
        for states in ({}, {"PARTIAL": "succeeded"})
        for view in Visibility
    }

    assert len(versions) == 8


#: a name that is cut: it hides how long the whole is, which counts in a list
CUT = ROWS_BY_ID["h-big-exctype"]


@settings(deadline=None)
@example([(CUT, MAX_INLINE_SIZE), (CUT, MAX_LISTED_SIZE)])
@given(st.lists(st.tuples(st.sampled_from(ROWS), st.sampled_from([MAX_LISTED_SIZE, MAX_INLINE_SIZE])), max_size=30))
def test_as_if_nothing_were_remembered(asked):
    """Real stored values, alone or in a list, in any order, some of them twice."""
    remembering = StatusCache({}, Visibility.OPERATOR)

    for row, inline_size in asked:
        fresh = StatusCache({}, Visibility.OPERATOR).decoded(snapshot_of(row), inline_size=inline_size)
        assert remembering.decoded(snapshot_of(row), inline_size=inline_size) == fresh
