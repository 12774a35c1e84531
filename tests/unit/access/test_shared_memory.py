"""Numbers and counts in memory that forked processes share."""

import multiprocessing
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from task_status_service.access.rate_limit import RateLimit
from task_status_service.access.shared_memory import Cells, LimitMemory
from task_status_service.access.watch_limits import Places, WatchLimit
from task_status_service.errors import TooManyWatches

SECOND = 1_000_000_000
_FORK = multiprocessing.get_context("fork")


def in_processes(count: int, work: Callable[[int], int]) -> list[int]:
    """Run a function in forked processes at the same time; return what each returned."""
    results, begin = _FORK.Queue(), _FORK.Event()

    def run(number: int) -> None:
        begin.wait()
        results.put((number, work(number)))

    processes = [_FORK.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    begin.set()
    found = dict(results.get(timeout=20) for _ in processes)
    for process in processes:
        process.join()
    return [found[number] for number in range(count)]


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2**63 - 1))))
def test_keys_have_numbers(changes):
    """Each of up to eight keys has the number that was stored last."""
    cells, expected = Cells(8), {}
    for key, number in changes:
        cells.put(key, number)
        expected[key] = number
        assert {one: cells.get(one) for one in expected} == expected
    assert cells.get("other") == 0
    cells.clear()
    assert not any(cells.get(one) for one in expected)


def test_small_numbers_are_replaced_first():
    """Beyond the limit of keys, the key with the smallest number loses it."""
    cells = Cells(8)
    for number in range(1, 101):
        cells.put(f"key {number}", number)
    cells.put("last", 1)

    assert [number for number in range(1, 101) if cells.get(f"key {number}")] == list(range(94, 101))
    assert cells.get("last") == 1


def test_processes_share_a_rate_limit():
    """Three processes have one limit together."""
    limit = RateLimit(1, 1_000, LimitMemory(2).key_requests, clock_ns=lambda: 1_000 * SECOND)

    # One after the other: writes at the same moment may count as one.
    passed = [in_processes(1, lambda _: sum(not limit.take("ann").wait_seconds for _ in range(400))) for _ in range(3)]

    assert passed == [[400], [400], [200]]
    assert limit.take("ann").wait_seconds == 1


def test_processes_at_the_same_time_share_a_rate_limit():
    """Requests of two processes at the same time are counted together."""
    limit = RateLimit(1, 1_000_000, LimitMemory(2).key_requests, clock_ns=lambda: 1_000 * SECOND)

    in_processes(2, lambda _: sum(not limit.take("ann").wait_seconds for _ in range(3_000)))

    # One process alone would have left 997,000.
    assert limit.take("ann").left < 996_999


def test_processes_share_a_limit_of_watches():
    """Watches of one caller are counted in all processes; the limit in total is one of each process."""
    memory = LimitMemory(3)
    limits = [WatchLimit("ann", 10, "too many")]

    def places() -> Places:
        return Places(8, memory.watches(memory.claim()))

    def take(those: Places, count: int) -> int:
        taken = 0
        for _ in range(count):
            try:
                those.take(limits)
                taken += 1
            except TooManyWatches:
                break
        return taken

    of = [places(), places()]
    assert in_processes(1, lambda _: take(of[0], 9)) == [8]
    assert take(of[1], 9) == 2
    of[1].free(limits)
    assert take(of[1], 9) == 1

    # The first process has ended without freeing its places.
    memory.release(0)
    assert take(of[1], 9) == 6
    assert take(places(), 9) == 2


def test_a_process_without_memory_counts_its_own():
    """If more processes run than the memory has room for, a further one counts its own watches only."""
    memory = LimitMemory(1)
    assert [memory.claim(), memory.claim()] == [0, None]
    counts = memory.watches(None)
    memory.watches(0).change("ann", 5)

    counts.change("ann", 2)
    assert counts.total("ann") == 2
    counts.change("ann", -2)
    assert counts.total("ann") == 0
    memory.release(None)
    memory.release(0)
    assert memory.claim() == 0
