"""When a client polls again, and which versions it knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.api.responses.caching import known_versions, poll_after_seconds
from task_status_service.status import Snapshot, decode

NOW = 1_700_000_000.0


def record(**times):
    """Return a packed record with these times, in seconds from now; None sets a flag."""
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
def test_pause_between_two_polls(times, seconds):
    """The pause follows the table, for a record and for the status that is decoded from it."""
    fact = b"RETRYING" if "next_retry_at" in times else b"SUBMITTED"
    stored = {**record(**times), b"fact": fact}

    snapshot = Snapshot(task_id="t", record=stored)

    assert poll_after_seconds(snapshot.poll_times, NOW) == seconds
    status = decode(snapshot)
    assert status is not None
    assert poll_after_seconds(status.poll_times, NOW) == seconds


@given(
    st.dictionaries(st.sampled_from([b"submitted_at", b"started_at", b"scheduled_for", b"next_retry_at"]), st.binary())
)
def test_pause_for_any_record(stored):
    """The pause is a whole number of seconds, at least 1, for any bytes in the record."""
    seconds = poll_after_seconds(Snapshot(task_id="t", record=stored).poll_times, NOW)

    assert isinstance(seconds, int)
    assert seconds >= 1


VERSION = "0123456789abcdef" * 2


@pytest.mark.parametrize("header", [f'"{VERSION}"', f'W/"{VERSION}"', f'"other", "{VERSION}"', "*"])
def test_knows_a_version(header):
    """Each form of `If-None-Match` of RFC 9110 names the version, also a weak one."""
    known = known_versions(header)

    assert known is not None
    assert VERSION in known


@pytest.mark.parametrize("header", ['"other"', f'"{VERSION}', f"{VERSION[:-1]}", f'"{VERSION[::-1]}"'])
def test_does_not_know_another_version(header):
    """Another tag, or text that is not a tag, does not name the version."""
    assert VERSION not in (known_versions(header) or ())


@pytest.mark.parametrize("header", [None, ""])
def test_knows_nothing_without_a_header(header):
    """A client without `If-None-Match` names no version."""
    assert known_versions(header) is None
