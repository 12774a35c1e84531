"""The rate limit, against what it promises to everybody and whenever they come."""

from hypothesis import given
from hypothesis import strategies as st
from support.clock import Clock
from task_status_service.access.rate_limit import RateLimit

SECOND = 1_000_000_000
rates = st.sampled_from([0.5, 1, 3, 7, 1_000])
bursts = st.integers(1, 20)
#: pauses between requests, in nanoseconds
pauses = st.lists(st.integers(0, 3 * SECOND) | st.just(0), min_size=1, max_size=60)


@given(rates, bursts, pauses)
def test_never_more_than_promised(per_second, burst, pauses):
    """In no stretch of time more passes than the burst and what the rate gives in that time."""
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
def test_keeps_its_word(per_second, burst, pauses):
    """Who is told that there is something left gets it, and who waits as long as told gets through."""
    clock = Clock(1_000 * SECOND)
    limit = RateLimit(per_second, burst, clock_ns=clock)
    for pause in pauses:
        clock.now += pause
        budget = limit.take("a")
        assert 0 <= budget.left < burst
        assert 0 < budget.full_seconds <= limit.window_seconds + 1
        for _ in range(budget.left):
            assert limit.take("a").wait_seconds == 0
        refused = limit.take("a")
        assert refused.wait_seconds > 0
        clock.now += refused.wait_seconds * SECOND
        assert limit.take("a").wait_seconds == 0


@given(rates, bursts)
def test_refusals_cost_nothing(per_second, burst):
    """Who keeps asking waits no longer than who does not."""
    clock = Clock(1_000 * SECOND)
    limit = RateLimit(per_second, burst, clock_ns=clock)
    waits = [limit.take("a").wait_seconds for _ in range(burst + 50)]
    assert waits[:burst] == [0] * burst
    assert len(set(waits[burst:])) == 1


def test_each_has_a_budget_of_its_own():
    """What one uses up another one has."""
    limit = RateLimit(1, 2, clock_ns=Clock(1_000 * SECOND))
    assert [limit.take(whose).wait_seconds for whose in "aaabab"] == [0, 0, 1, 0, 1, 0]


def test_keeps_count_of_a_bounded_number():
    """Who was not heard of for longest is forgotten, whoever else comes."""
    limit = RateLimit(1, 1, most=2, clock_ns=Clock(1_000 * SECOND))
    assert [limit.take(whose).wait_seconds for whose in "abacbca"] == [0, 0, 1, 0, 1, 1, 0]
