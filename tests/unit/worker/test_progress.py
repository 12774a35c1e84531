"""The times at which a report is written."""

from hypothesis import given
from hypothesis import strategies as st
from task_status_worker import report
from task_status_worker.progress import MIN_INTERVAL_SECONDS, is_due


def test_outside_a_task_nothing_happens() -> None:
    """Outside a task a report does nothing, so that a function that reports can be called anywhere."""
    report(1, 2, message="x", stage="y", more=3)


def test_writes_the_first_and_the_last_report() -> None:
    """The first and the last report are written at once."""
    assert is_due(None, 0.0, is_last=False)
    assert is_due(5.0, 5.0, is_last=True)


@given(gaps=st.lists(st.floats(0, 1), max_size=50))
def test_limits_the_writes_of_a_loop(gaps: list[float]) -> None:
    """Two writes are at least one interval apart, and no report is delayed for longer."""
    now, written, held_back = 0.0, None, 0.0
    for gap in gaps:
        now += gap
        if is_due(written, now, is_last=False):
            assert written is None or now - written >= MIN_INTERVAL_SECONDS
            written = now
        elif written is not None:
            held_back = now - written
        assert held_back < MIN_INTERVAL_SECONDS
