"""The difference between the clock of the store and that of this process."""

import pytest
from task_status_service.store.clock_offset import WARNING_SECONDS, ClockOffset


def test_one_slow_reply_changes_nothing():
    """The median of the last reads counts."""
    offset = ClockOffset()
    for seconds in (0.1, 0.1, 3.0, 0.1):
        offset.receive(seconds)
    assert offset.seconds == 0.1
    assert offset.warnings == []


@pytest.mark.parametrize(("seconds", "words"), [(3_600.0, "3600 s behind"), (-3_600.0, "3600 s ahead of")])
def test_a_wrong_clock_is_reported_until_it_is_right(seconds, words, caplog):
    """A clock that is set is noticed with the next read, and logged once; so is its correction."""
    offset = ClockOffset()
    offset.receive(0.0)
    for _ in range(3):
        offset.receive(seconds)
        assert offset.seconds == seconds
        [warning] = offset.warnings
        assert words in warning
    offset.receive(0.0)
    assert (offset.seconds, offset.warnings) == (0.0, [])
    assert [words in record.getMessage() for record in caplog.records] == [True, False]


def test_a_small_difference_is_not_reported():
    """A difference of some seconds does no harm."""
    offset = ClockOffset()
    offset.receive(WARNING_SECONDS)
    assert offset.warnings == []
