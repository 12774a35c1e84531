"""The filter of a list, and the turns of its scans."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import wait_until
from task_status_service.access.caller import ANYBODY, Caller, Scope
from task_status_service.errors import RateLimited
from task_status_service.status import TaskState
from task_status_service.use_cases.listing import Filter, IndexPage, Turns

SCAN = Filter(states=[TaskState.QUEUED], labels={"a": "b"})


@pytest.mark.parametrize(
    ("wanted", "is_scan"),
    [
        (Filter(), False),
        (Filter(owner="ann", states=[TaskState.QUEUED, TaskState.RUNNING]), False),
        (Filter(name="demo.add"), False),
        (Filter(labels={"a": "b"}), False),
        (Filter(labels={"a": "b", "c": "d"}), True),
        (Filter(name="demo.add", states=[TaskState.QUEUED]), True),
        (SCAN, True),
    ],
)
def test_a_scan_has_several_conditions(wanted, is_scan):
    """The index answers one condition without a scan."""
    assert wanted.is_scan == is_scan


def test_one_scan_of_a_caller_at_a_time():
    """Scans of one caller run one after the other; those of others at the same time."""
    turns, running, most = Turns(wait_seconds=30), {"ann": 0, "ben": 0}, {"ann": 0, "ben": 0}
    both = threading.Barrier(2)

    def scan(name: str, is_first: bool) -> None:
        with turns.turn(name):
            running[name] += 1
            most[name] = max(most[name], running[name])
            if is_first:
                both.wait(30)
            running[name] -= 1

    with ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(scan, name, number == 0) for number in range(20) for name in ("ann", "ben")]:
            done.result()
    assert most == {"ann": 1, "ben": 1}


def test_a_scan_that_waits_too_long_is_rejected():
    """After the wait the caller gets 429 with a time; afterwards nothing is kept about it."""
    turns = Turns(wait_seconds=0.01)
    with turns.turn("ann"), pytest.raises(RateLimited, match="at once") as raised, turns.turn("ann"):
        pass
    assert raised.value.retry_after_seconds == 1
    with turns.turn("ann"):
        pass
    assert turns._locks == {}  # noqa: SLF001  # nothing else shows whether memory grows


def test_a_failed_scan_frees_the_turn():
    """An error within a turn ends it."""
    turns = Turns(wait_seconds=0.01)
    with pytest.raises(ZeroDivisionError), turns.turn("ann"):
        1 / 0  # noqa: B018
    with turns.turn("ann"):
        pass


@pytest.mark.parametrize(
    ("caller", "expected"),
    [(Caller(owner="ann", scopes=frozenset({Scope.READ})), 1), (ANYBODY, 1)],
    ids=["owner", "no keys"],
)
def test_the_tracker_scans_in_turn(store, tracker, monkeypatch, caller, expected):
    """Lists with several filters run one at a time for a caller, and all are answered; other lists do not wait."""
    most = running = 0
    free = threading.Event()

    def page(wanted: Filter, **_: object) -> IndexPage:
        nonlocal most, running
        if not wanted.is_scan:
            free.set()
            return IndexPage([], None)
        running += 1
        most = max(most, running)
        assert free.wait(30)
        running -= 1
        return IndexPage([], None)

    monkeypatch.setattr(store, "page", page)
    with ThreadPoolExecutor(8) as pool:
        scans = [pool.submit(tracker.page, SCAN, caller, limit=1) for _ in range(8)]
        wait_until(lambda: running > 0, what="a scan")
        tracker.page(Filter(labels={"a": "b"}), caller, limit=1)
        assert [scan.result().items for scan in scans] == [[]] * 8
    assert most == expected
