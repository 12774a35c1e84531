"""The rules by which custom meta is decoded to a progress."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.status.model import Progress
from task_status_service.status.progress import decode_progress, with_eta


def shown(custom_meta, celery_state="PROGRESS"):
    """Return (percent, current, total, message, stage) and the codes of the diagnostics."""
    codes = set()
    progress = decode_progress(custom_meta, celery_state, codes)
    return (None if progress is None else msgspec.structs.astuple(progress)[:5]), codes


def numbers(custom_meta):
    """Return (percent, current, total)."""
    progress, _ = shown(custom_meta)
    return progress and progress[:3]


@pytest.mark.parametrize(
    ("custom_meta", "expected"),
    [
        ({"current": 3, "total": 10}, (30.0, 3, 10)),
        ({"done": 3, "total": 10}, (30.0, 3, 10)),
        ({"processed": 3, "count": 10}, (30.0, 3, 10)),
        ({"current_step": 2, "total_steps": 5}, (40.0, 2, 5)),
        ({"page": 1, "pages": 3}, (33.33, 1, 3)),
        ({"downloaded": 500, "size": 2000}, (25.0, 500, 2000)),
        ({"Current": 3, "TOTAL": 10}, (30.0, 3, 10)),
        ({"Total Steps": 4, "current-step": 1}, (25.0, 1, 4)),
        ({"current": "3", "done": 9, "total": 10}, (30.0, 3, 10)),
        ({"current": "three", "done": 9, "total": 10}, (90.0, 9, 10)),
    ],
)
def test_the_usual_keys_are_read(custom_meta, expected):
    """Keys are compared without case, spaces and dashes; the first one with a number is used."""
    assert numbers(custom_meta) == expected


@pytest.mark.parametrize(
    ("custom_meta", "expected"),
    [
        ({"n": 3, "total": 10}, (30.0, 3, 10)),
        ({"i": 3, "n": 10}, (30.0, 3, 10)),
        ({"i": 3}, (None, 3, None)),
        ({"n": 3}, (None, 3, None)),
        ({"i": "x", "n": 3}, (None, 3, None)),
    ],
)
def test_n_is_the_total_only_beside_i(custom_meta, expected):
    """`n` alone is the current unit."""
    assert numbers(custom_meta) == expected


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (2.5, 2.5),
        ("3", 3),
        (" 3\n", 3),
        ("2.5", 2.5),
        ("-0", 0),
        ("1E+5", 100000.0),
        ("123456789012345", 123456789012345),
        ("1234567890123456", None),
        ("1,234", None),
        ("three", None),
        ("NaN", None),
        ("3%", None),
        ("", None),
        (" " * 100 + "3", None),
        (True, None),
        (None, None),
        ([3], None),
        ({"value": 3}, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_only_numbers_are_numbers(value, number):
    """A number is an int, a finite float or a short decimal text, but not a bool."""
    progress, _ = shown({"current": value, "message": "m"})

    assert progress[1] == number


@pytest.mark.parametrize(
    ("custom_meta", "percent"),
    [
        ({"percent": 42}, 42.0),
        ({"percentage": 0.42}, 0.42),
        ({"pct": "42 %".replace(" ", "")}, 42.0),
        ({"progress_percent": "7"}, 7.0),
        ({"process_percent": 7}, 7.0),
        ({"percent_complete": 12.345}, 12.35),
        ({"percent": None, "current": 1, "total": 4}, 25.0),
        ({"percent": 99, "current": 3, "total": 10}, 99.0),
        ({"percent": 10, "progress": 50}, 10.0),
        ({"percent": 10, "progress": 0.5}, 10.0),
        ({"percent": 10, "progress": "50%"}, 10.0),
    ],
)
def test_an_explicit_percent_takes_precedence(custom_meta, percent):
    """An explicit percent is not scaled, and takes precedence over a computed one."""
    assert numbers(custom_meta)[0] == pytest.approx(percent, abs=0.006)


@pytest.mark.parametrize(
    ("progress", "percent"),
    [
        (30, 30.0),
        (1, 1.0),
        (0.3, 30.0),
        (1.0, 100.0),
        (0.0, 0.0),
        (30.5, 30.5),
        ("45%", 45.0),
        ("0.5", 0.5),
    ],
)
def test_progress_is_a_percent_or_a_fraction(progress, percent):
    """A float from 0 to 1 is a fraction; an int or a text is a percent."""
    assert numbers({"progress": progress}) == (percent, None, None)


@pytest.mark.parametrize(
    ("custom_meta", "expected"),
    [
        ({"progress": 3, "total": 10}, ((30.0, 3, 10, None, None), set())),
        ({"progress": "almost there"}, ((None, None, None, "almost there", None), set())),
        ({"progress": "almost", "message": "m"}, ((None, None, None, "m", None), set())),
        ({"progress": {"current": 3, "total": 10}}, ((30.0, 3, 10, None, None), set())),
        ({"progress": {"current": 3, "total": 10}, "stage": "s"}, ((30.0, 3, 10, None, "s"), set())),
        ({"progress": {"progress": {"current": 3}}}, (None, set())),
        ({"progress": None, "meta": {"current": 1}}, (None, set())),
    ],
)
def test_progress_may_be_a_number_of_units_a_text_or_an_object(custom_meta, expected):
    """`progress` is the current unit if a total is present, a message, or an object at most one level deep."""
    assert shown(custom_meta) == expected


@pytest.mark.parametrize(
    ("custom_meta", "expected", "is_clamped"),
    [
        ({"percent": 250}, (100.0, None, None), True),
        ({"progress": -5}, (0.0, None, None), True),
        ({"done": 12, "total": 10}, (100.0, 12, 10), True),
        ({"done": -1, "total": 10}, (0.0, 0, 10), True),
        ({"done": 10, "total": 10}, (100.0, 10, 10), False),
        ({"done": 5, "total": 0}, (None, 5, 0), False),
        ({"done": 5, "total": -10}, (None, 5, None), False),
        ({"done": 5, "total": None}, (None, 5, None), False),
        ({"total": 5}, (None, None, 5), False),
        ({"done": 10**400, "total": 10**401}, (10.0, None, None), False),
        ({"done": 10**400, "total": 2.5}, (100.0, None, 2.5), True),
        ({"percent": 10**400}, (100.0, None, None), True),
    ],
)
def test_percent_is_between_0_and_100(custom_meta, expected, is_clamped):
    """Other values are clamped, with a diagnostic; units beyond JavaScript's integers are omitted."""
    progress, codes = shown(custom_meta)

    assert progress[:3] == expected
    assert codes == ({"progress_clamped"} if is_clamped else set())


def test_message_and_stage_are_the_first_texts():
    """Blank texts and other values are ignored."""
    progress, _ = shown({"message": " ", "description": 5, "status": "s", "title": "t", "step": 2, "phase": "p"})

    assert progress == (None, 2, None, "s", "p")


def test_long_texts_are_cut():
    """The limits are 500 characters for a message and 200 for a stage."""
    progress, codes = shown({"message": "m" * 501, "stage": "s" * 201})

    assert progress[3:] == ("m" * 500 + "…", "s" * 200 + "…")
    assert codes == {"truncated_text"}


@pytest.mark.parametrize(
    ("custom_meta", "celery_state", "expected"),
    [
        ("Extracting", "STARTED", (None, None, None, "Extracting", None)),
        (30, "PROGRESS", (30.0, None, None, None, None)),
        (0.3, "in_progress", (30.0, None, None, None, None)),
        (30, "STARTED", None),
        (True, "PROGRESS", None),
        ([1, 2], "PROGRESS", None),
        (None, None, None),
        ({}, "PROGRESS", None),
        ({"custom": "..."}, "PROGRESS", None),
    ],
)
def test_a_meta_that_is_not_an_object(custom_meta, celery_state, expected):
    """A text is a message; a number is a percent only if the state contains PROGRESS."""
    assert shown(custom_meta, celery_state) == (expected, set())


@pytest.mark.parametrize("celery_state", ["FAILURE", "RETRY", "REVOKED", "REJECTED"])
def test_the_progress_of_a_failure_has_only_numbers(celery_state):
    """The texts of a failed task belong to its failure."""
    assert shown({"done": 1, "total": 4, "error": "e", "status": "s"}, celery_state)[0] == (25.0, 1, 4, None, None)
    assert shown({"status": "s"}, celery_state)[0] is None


STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def progress_of(current, total, after_seconds):
    """Return a progress reported some seconds after the start; None makes one without a time."""
    updated_at = None if after_seconds is None else STARTED_AT + timedelta(seconds=after_seconds)
    return Progress(percent=None, current=current, total=total, message=None, stage=None, updated_at=updated_at)


@pytest.mark.parametrize(
    ("current", "total", "after_seconds", "eta_seconds"),
    [
        (1, 4, 10, 40),
        (2.5, 5.0, 10, 20),
        (4, 4, 10, 10),
        (1, 3, -5, -5),
        (0, 4, 10, None),
        (5, 4, 10, None),
        (None, 4, 10, None),
        (1, None, 10, None),
        (1, 4, None, None),
        (1, 2**53, 10**6, None),
        (5e-324, 1e308, 10, None),
    ],
)
def test_the_end_is_estimated_at_the_mean_rate(current, total, after_seconds, eta_seconds):
    """The end is estimated at the mean rate since the start; it is null without one."""
    eta_at = with_eta(progress_of(current, total, after_seconds), STARTED_AT).eta_at
    assert eta_at == (None if eta_seconds is None else STARTED_AT + timedelta(seconds=eta_seconds))


def test_without_a_start_no_end_is_estimated():
    """Without a recorded start the rate is unknown."""
    assert with_eta(progress_of(1, 4, 10), None).eta_at is None


@given(st.integers() | st.floats(), st.integers() | st.floats(), st.integers(-(10**9), 10**9))
def test_the_estimated_end_is_never_before_the_report(current, total, after_seconds):
    """For any report, the estimate does not raise and is not before the report."""
    progress = with_eta(progress_of(current, total, after_seconds), STARTED_AT)
    assert progress.eta_at is None or progress.eta_at >= progress.updated_at
