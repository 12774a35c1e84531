"""When to ask again: quick at first, longer with age, and at its time what waits for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.api.responses.caching import poll_after_seconds, poll_status_after_seconds
from task_status_service.status import Snapshot, decode

NOW = 1_700_000_000.0


def record(**times):
    """Give a packed record with these times, in seconds from now; None is a flag."""
    return {
        name.encode(): b"1" if seconds is None else str(round((NOW + seconds) * 1_000)).encode()
        for name, seconds in times.items()
    }


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ({}, 1),
        ({"submitted_at": -1}, 1),
        ({"submitted_at": -30}, 2),
        ({"submitted_at": -300}, 5),
        ({"submitted_at": -86_400}, 15),
        ({"submitted_at": -86_400, "started_at": -5}, 1),
        ({"submitted_at": -5, "scheduled_for": 59.2}, 60),
        ({"submitted_at": -5, "scheduled_for": -1}, 1),
        ({"submitted_at": -300, "started_at": -200, "next_retry_at": 30}, 30),
        ({"submitted_at": 5}, 1),
        ({"submitted_at": -30, "scheduled_for": 3_600, "next_retry_at": 30, "cancel_requested": None}, 2),
    ],
)
def test_table(times, seconds):
    """Each step, and each kind of waiting; of a status as of the record that it was decoded from."""
    fact = b"RETRYING" if "next_retry_at" in times else b"SUBMITTED"
    stored = {**record(**times), b"fact": fact}

    assert poll_after_seconds(stored, NOW) == seconds
    status = decode(Snapshot(task_id="t", record=stored))
    assert status is not None
    assert poll_status_after_seconds(status, NOW) == seconds


@given(
    st.dictionaries(st.sampled_from([b"submitted_at", b"started_at", b"scheduled_for", b"next_retry_at"]), st.binary())
)
def test_any_record(stored):
    """Whatever a record holds: a whole number of seconds, at least one."""
    seconds = poll_after_seconds(stored, NOW)

    assert isinstance(seconds, int)
    assert seconds >= 1
