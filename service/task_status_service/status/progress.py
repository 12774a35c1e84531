"""Decode the usual conventions of custom meta to a `Progress`. Values are not guessed: a missing one is null."""

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final

import msgspec

from task_status_service.status.model import Progress
from task_status_service.status.stored.bounds import MAX_PROGRESS_MESSAGE_CHARS, MAX_SAFE_INTEGER, MAX_STAGE_CHARS
from task_status_service.status.stored.celery_states import FAILURE_STATES, PROGRESS
from task_status_service.status.stored.plain_json import cut

_Number = int | float

_NO_TIME: Final = timedelta(0)

# Keys in lower case, with `_` for spaces and dashes; the first one that holds a value is used.
_PERCENT_KEYS: Final = ("percent", "percentage", "pct", "progress_percent", "process_percent", "percent_complete")
_TOTAL_KEYS: Final = ("total", "total_steps", "steps", "count", "pages", "epochs", "size")
_CURRENT_KEYS: Final = (
    "current",
    "done",
    "completed",
    "processed",
    "finished",
    "n",
    "i",
    "step",
    "current_step",
    "page",
    "epoch",
    "downloaded",
)
_MESSAGE_KEYS: Final = ("message", "description", "desc", "status", "detail", "text", "msg", "info", "title")
_STAGE_KEYS: Final = ("stage", "step", "current_step", "phase")

# With `i`, `n` is the total; without, `n` is the current unit.
_TOTAL_KEYS_WITH_I: Final = ("total", "total_steps", "steps", "count", "n", "pages", "epochs", "size")
_CURRENT_KEYS_WITH_I: Final = tuple(key for key in _CURRENT_KEYS if key != "n")

#: at most 15 digits on each side, so that a float holds them; Python writes a large Decimal with an exponent
_NUMBER_TEXT: Final = re.compile(r"[+-]?\d{1,15}(?P<fraction>\.\d{1,15})?(?P<exponent>E[+-]\d{1,2})?")
_MAX_NUMBER_TEXT_CHARS: Final = 60

NOTHING: Final = Progress(percent=None, current=None, total=None, message=None, stage=None)
#: the progress of a task that returned
COMPLETE: Final = msgspec.structs.replace(NOTHING, percent=100.0)


def decode_progress(custom_meta: Any, celery_state: str | None, codes: set[str]) -> Progress | None:
    """Return the progress in the custom meta that a task stored with `celery_state`; None without one.

    `codes` collects `progress_clamped` and `truncated_text`.
    """
    if isinstance(custom_meta, dict):
        progress = _of_object(custom_meta, codes)
    elif isinstance(custom_meta, str):
        progress = msgspec.structs.replace(
            NOTHING, message=_first_text([custom_meta], MAX_PROGRESS_MESSAGE_CHARS, codes)
        )
    elif PROGRESS in (celery_state or "").upper():
        progress = _of_object({"progress": custom_meta}, codes)
    else:
        return None
    if celery_state in FAILURE_STATES:
        # The texts of a failed task belong to its failure.
        progress = msgspec.structs.replace(progress, message=None, stage=None)
    return None if progress == NOTHING else progress


def _of_object(custom_meta: Mapping[str, Any], codes: set[str], *, nested: bool = False) -> Progress:
    values = {key.lower().replace(" ", "_").replace("-", "_"): value for key, value in custom_meta.items()}
    with_i = _number(values.get("i")) is not None
    total = _first_number(values, _TOTAL_KEYS_WITH_I if with_i else _TOTAL_KEYS)
    current = _first_number(values, _CURRENT_KEYS_WITH_I if with_i else _CURRENT_KEYS)
    percent = _explicit_percent(values)
    texts = [values.get(key) for key in _MESSAGE_KEYS]
    inner = NOTHING
    match values.get("progress"):
        case dict(more) if not nested:
            inner = _of_object(more, codes, nested=True)
        case str(text):
            texts.append(text if _percent(text) is None else None)
            percent = _first(percent, _percent(text))
        case value if total is not None and current is None:
            current = _number(value)
        case float(value) if 0 <= value <= 1:
            percent = _first(percent, 100 * value)
        case value:
            percent = _first(percent, _number(value))
    percent = _first(percent, _ratio(current, total))
    return Progress(
        percent=_first(_shown_percent(percent, codes), inner.percent),
        current=_first(_shown_current(current, codes), inner.current),
        total=_first(_shown_total(total), inner.total),
        message=_first(_first_text(texts, MAX_PROGRESS_MESSAGE_CHARS, codes), inner.message),
        stage=_first(_first_text([values.get(key) for key in _STAGE_KEYS], MAX_STAGE_CHARS, codes), inner.stage),
    )


def _first(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _number(value: Any) -> _Number | None:
    """Return a finite number, also from a text; None for any other value, also a bool."""
    if type(value) is int:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str) and len(value) <= _MAX_NUMBER_TEXT_CHARS:
        text = value.strip()
        found = _NUMBER_TEXT.fullmatch(text)
        if found:
            return float(text) if found["fraction"] or found["exponent"] else int(text)
    return None


def _percent(value: Any) -> _Number | None:
    """Return a number, also from a text with a percent sign."""
    return _number(value.strip().removesuffix("%") if isinstance(value, str) else value)


def _first_number(values: Mapping[str, Any], keys: Iterable[str]) -> _Number | None:
    for key in keys:
        number = _number(values.get(key))
        if number is not None:
            return number
    return None


def _explicit_percent(values: Mapping[str, Any]) -> _Number | None:
    for key in _PERCENT_KEYS:
        number = _percent(values.get(key))
        if number is not None:
            return number
    return None


def _first_text(texts: Iterable[Any], longest: int, codes: set[str]) -> str | None:
    for text in texts:
        if isinstance(text, str) and text.strip():
            return cut(text, longest, codes)
    return None


def _ratio(current: _Number | None, total: _Number | None) -> Fraction | None:
    """Return the exact percentage, also of numbers that no float can hold; None without a positive total."""
    if current is None or total is None or total <= 0:
        return None
    return 100 * Fraction(current) / Fraction(total)


def _shown_percent(percent: _Number | Fraction | None, codes: set[str]) -> float | None:
    if percent is None:
        return None
    clamped: _Number | Fraction = 0 if percent < 0 else min(percent, 100)
    if clamped != percent:
        codes.add("progress_clamped")
    return round(float(clamped), 2)


def _shown_current(current: _Number | None, codes: set[str]) -> _Number | None:
    if current is None or abs(current) > MAX_SAFE_INTEGER:
        return None
    if current < 0:
        codes.add("progress_clamped")
        return 0
    return current


def _shown_total(total: _Number | None) -> _Number | None:
    return None if total is None or not 0 <= total <= MAX_SAFE_INTEGER else total


def with_eta(progress: Progress, started_at: datetime | None) -> Progress:
    """Return the progress of a running attempt with its estimated end, at the mean rate since its start.

    `eta_at` depends on the recorded facts alone, so it changes only with a report, and is never before it. It is null
    without a start, a time of the report, a total, or a unit that is done.
    """
    updated_at, current, total = progress.updated_at, progress.current, progress.total
    if started_at is None or updated_at is None or current is None or total is None or not 0 < current <= total:
        return progress
    elapsed = max(updated_at - started_at, _NO_TIME)
    try:
        return msgspec.structs.replace(progress, eta_at=updated_at + elapsed * float((total - current) / current))
    except (OverflowError, ValueError):
        # The rate is so low that the end is after the year 9999.
        return progress
