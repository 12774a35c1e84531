"""The rate limit keeps its rate and burst for any sequence of requests."""

from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock
from task_status_service.access.rate_limit import RateLimit
from task_status_service.access.shared_memory import Cells

SECOND = 1_000_000_000
rates = st.sampled_from([0.5, 1, 3, 7, 1_000])
bursts = st.integers(1, 20)
#: pauses between requests, in nanoseconds
pauses = st.lists(st.integers(0, 3 * SECOND) | st.just(0), min_size=1, max_size=60)


@given(rates, bursts, pauses)
def test_the_limit_holds_in_every_interval(per_second, burst, pauses):
    """In each interval at most the burst plus the rate times the interval is allowed."""
    clock = Clock(1_000 * SECOND)
    limit = RateLimit(per_second, burst, clock_ns=clock)
    passed = []
    for pause in pauses:
        clock.now += pause
        if not limit.take("a").wait_seconds:
            passed.append(clock.now)
    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - begin) / SECOND * per_second


@given(rates, bursts, pauses)
def test_the_reported_budget_is_correct(per_second, burst, pauses):
    """The reported remaining requests are allowed, and so is a request after the reported wait."""
    clock = Clock(1_000 * SECOND)
    limit = RateLimit(per_second, burst, clock_ns=clock)
    for pause in pauses:
        clock.now += pause
        budget = limit.take("a")
        assert 0 <= budget.left < burst
        assert 0 < budget.full_seconds <= limit.window_seconds + 1
        for _ in range(budget.left):
            assert limit.take("a").wait_seconds == 0
        rejected = limit.take("a")
        assert rejected.wait_seconds > 0
        clock.now += rejected.wait_seconds * SECOND
        assert limit.take("a").wait_seconds == 0


@given(rates, bursts)
def test_rejected_requests_are_not_counted(per_second, burst):
    """Rejected requests do not extend the wait."""
    clock = Clock(1_000 * SECOND)
    limit = RateLimit(per_second, burst, clock_ns=clock)
    waits = [limit.take("a").wait_seconds for _ in range(burst + 50)]
    assert waits[:burst] == [0] * burst
    assert len(set(waits[burst:])) == 1


def test_keys_have_separate_budgets():
    """Requests of one key do not reduce the budget of another one."""
    limit = RateLimit(1, 2, clock_ns=Clock(1_000 * SECOND))
    assert [limit.take(key).wait_seconds for key in "aaabab"] == [0, 0, 1, 0, 1, 0]


def test_many_keys_do_not_reset_a_limited_key():
    """The number of keys is bounded, and the keys with the most requests are kept: no rotation of keys resets one."""
    limit = RateLimit(1, 5, Cells(64), clock_ns=Clock(1_000 * SECOND))
    assert [limit.take("a").wait_seconds for _ in range(6)] == [0] * 5 + [1]

    assert {limit.take(f"other {number}").wait_seconds for number in range(10_000)} == {0}

    assert limit.take("a").wait_seconds == 1
