"""Each version is decoded once, and a cached status equals a newly decoded one."""

import json
import threading

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.stored_values import ROWS, ROWS_BY_ID, snapshot_of
from task_status_service.status import INLINE, LISTED, RESULT, Budget, Snapshot, Visibility, cache
from task_status_service.status.cache import LARGE_BYTES, MAX_STATUS_BYTES, StatusCache
from task_status_service.status.stored.bounds import MAX_PAGE_BYTES


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


@pytest.mark.parametrize(
    "result",
    ["x" * 300_000, "x" * 2_000_000, [{}] * 100_000, list(range(300_000))],
    ids=["large", "large text", "many objects", "many numbers"],
)
@pytest.mark.parametrize("limits", [INLINE, LISTED], ids=["alone", "in a list"])
def test_a_large_status_is_decoded_once(decoded_ids, limits, result):
    """A large status, and one whose result is too large, are remembered too: they take longest."""
    statuses = StatusCache({}, Visibility.OPERATOR)

    for _ in range(3):
        statuses.decoded(snapshot("a", status="SUCCESS", result=result), limits=limits)

    assert decoded_ids == ["a"]


def test_the_memory_of_the_cache_is_limited(decoded_ids, monkeypatch):
    """The oldest statuses are removed when the cache is full; they are decoded again."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    one = statuses.decoded(snapshot("a")).memory_bytes
    monkeypatch.setattr(cache, "MAX_CACHED_BYTES", 2 * one)

    for task_id in ("b", "c", "c", "b", "a"):
        statuses.decoded(snapshot(task_id))
    assert decoded_ids == ["a", "b", "c", "a"]
    statuses.decoded(snapshot("large", result="x" * 2 * one))
    statuses.decoded(snapshot("a"))
    assert decoded_ids == ["a", "b", "c", "a", "large", "a"]


def test_a_huge_status_is_not_cached(decoded_ids):
    """A status that would fill a large part of the cache is decoded each time."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    huge = snapshot("a", status="SUCCESS", result="x" * MAX_STATUS_BYTES)

    for _ in range(2):
        assert len(statuses.decoded(huge, limits=RESULT).body) > MAX_STATUS_BYTES

    assert decoded_ids == ["a", "a"]


def test_a_status_that_is_decoded_twice_at_once_is_counted_once(monkeypatch):
    """Two threads may decode the same version: the cache counts its memory once."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    one = statuses.decoded(snapshot("a")).memory_bytes
    decode = cache.decode
    monkeypatch.setattr(cache, "MAX_CACHED_BYTES", 3 * one)
    monkeypatch.setattr(cache, "decode", lambda found, **how: decoding.pop()(found) and decode(found, **how))

    # While `b` is decoded, another thread decodes it too.
    decoding = [lambda _: True, statuses.decoded]
    first = statuses.decoded(snapshot("b"))
    decoding = [lambda _: True]
    statuses.decoded(snapshot("c"))

    assert statuses.decoded(snapshot("a"))
    assert statuses.decoded(snapshot("b")) == first


def test_a_result_that_a_list_omits_is_in_the_status_of_the_task():
    """A list omits long results; a later read of the task alone contains them, and the list still omits them."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    large = snapshot("a", status="SUCCESS", result="x" * (LISTED.characters + 1))

    for _ in range(2):
        assert statuses.decoded(large, limits=LISTED).status.result is None
    assert statuses.decoded(large).status.result is not None


def test_a_result_that_a_spent_budget_omits_is_not_remembered():
    """A status that was cut because others had spent the budget is decoded again by the next request."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    large = snapshot("a", status="SUCCESS", result="x" * 30_000)
    spent = Budget(LISTED, clock=lambda: 0.0)
    spent.spend(inflated_bytes=MAX_PAGE_BYTES)

    assert statuses.decoded(large, budget=spent).status.result is None
    assert statuses.decoded(large, limits=LISTED).status.result is not None


def test_objects_and_lists_are_cached_as_json():
    """Python objects take up to 30 times the memory of their JSON; the body is the same."""
    statuses = StatusCache({}, Visibility.OPERATOR)
    failure = {"exc_type": "E", "exc_message": ["m"], "rows": [1, 2]}

    result = statuses.decoded(snapshot("a", status="SUCCESS", result=[1, {"a": None}]))
    meta = statuses.decoded(snapshot("b", result={"rows": [1]}))
    details = statuses.decoded(snapshot("c", status="FAILURE", result=failure))

    assert result.status.result == msgspec.Raw(b'[1,{"a":null}]')
    assert meta.status.meta == msgspec.Raw(b'{"rows":[1]}')
    assert details.status.failure.details == msgspec.Raw(b'{"rows":[1,2]}')
    assert [json.loads(one.body)["id"] for one in (result, meta, details)] == ["a", "b", "c"]


def test_one_large_value_is_decoded_at_a_time():
    """A large or compressed value is decoded under the lock, and a small one without waiting."""
    lock = threading.Lock()
    statuses = StatusCache({}, Visibility.OPERATOR, turn=lock)

    with lock:
        assert statuses.decoded(snapshot("small"))
        waiting = [
            threading.Thread(target=statuses.decoded, args=[found])
            for found in (
                snapshot("large", result="x" * LARGE_BYTES),
                Snapshot(task_id="compressed", meta=b"\x00celery-compressed\x00"),
            )
        ]
        for thread in waiting:
            thread.start()
        assert all(thread.is_alive() for thread in waiting)
    for thread in waiting:
        thread.join()
    assert not lock.locked()


def test_other_requests_run_during_a_long_decoding():
    """A cache with a pause calls it between parts of a large value."""
    pauses = []
    statuses = StatusCache({}, Visibility.OPERATOR, pause=lambda: pauses.append(None))

    statuses.decoded(snapshot("small"))
    assert not pauses
    statuses.decoded(snapshot("large", result=list(range(100_000))))
    assert len(pauses) > 3


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
@example([(CUT, INLINE), (CUT, LISTED)])
@given(st.lists(st.tuples(st.sampled_from(ROWS), st.sampled_from([LISTED, INLINE, RESULT])), max_size=30))
def test_cached_statuses_equal_decoded_ones(reads):
    """Stored values of the corpus, read alone or in a list, in any order and repeatedly."""
    caching = StatusCache({}, Visibility.OPERATOR)

    for row, limits in reads:
        fresh = StatusCache({}, Visibility.OPERATOR).decoded(snapshot_of(row), limits=limits)
        assert caching.decoded(snapshot_of(row), limits=limits) == fresh
