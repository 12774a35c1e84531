"""Decode Celery's stored bytes to a `Meta`, for every serializer and compression, within bounds."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from task_status_service.status.failures.messages import traceback_of
from task_status_service.status.stored import pickle_reader
from task_status_service.status.stored.bounds import (
    MAX_FAILURE_NODES,
    MAX_INLINE_SIZE,
    MAX_NAME_CHARS,
    MAX_RETRIES,
    MAX_TRACEBACK_CHARS,
)
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.celery_states import FAILURE_STATES, STARTED
from task_status_service.status.stored.children import decode_children
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.plain_json import PlainCopy, TooLarge, cut, not_empty, typed_text, whole
from task_status_service.status.stored.serializers import deserialize

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
#: keys that Celery itself stores with STARTED: internal, and not a custom meta
_STARTED_KEYS: Final = frozenset({"pid", "hostname"})
#: the arguments in `exc_message` may be as deep as a result, but are inside two more containers
_FAILURE_DEPTH: Final = -2
#: longest text of a time: date, time, six digits, offset with seconds
_MAX_TIME_CHARS: Final = 40


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """The document that Celery stores about one task, as plain JSON."""

    #: Celery's own state; None if unreadable
    celery_state: str | None = None
    #: by state: the return value, the custom meta, or the failure
    result: Any = None
    #: false if the result is too large or cannot be read
    result_readable: bool = True
    traceback: str | None = None
    children: list[str] = []
    #: timezone-aware, UTC
    date_done: datetime | None = None

    # Stored only with `result_extended`.
    name: str | None = None
    worker: str | None = None
    queue: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    retries: int = 0


UNREADABLE: Final = Meta()


def decode_meta(stored: bytes, task_id: str, codes: set[str], budget: Budget) -> Meta:
    """Decode the bytes under the meta key of `task_id`; return `UNREADABLE` without a readable state. Never raises.

    `codes` collects the diagnostics; a result over the limits of the budget is omitted.
    """
    try:
        document = deserialize(stored, codes, budget)
        celery_state = _celery_state(document, codes)
    except Unreadable as error:
        codes.add(error.code)
        return UNREADABLE
    result, readable = _result(document, celery_state, codes, budget)
    _check_task_id(document, task_id, codes)
    return Meta(
        celery_state=celery_state,
        result=result,
        result_readable=readable,
        traceback=_traceback(document.get("traceback"), codes, budget),
        children=decode_children(document.get("children"), codes),
        date_done=_time(document.get("date_done"), codes),
        name=_name(document.get("name"), codes),
        worker=_name(document.get("worker"), codes),
        # The routing key, which is empty for some exchanges: not worth a diagnostic.
        queue=_name(document.get("queue"), set()),
        parent_id=_name(document.get("parent_id"), codes),
        group_id=_name(document.get("group_id"), codes),
        retries=_count(document.get("retries")),
    )


def _celery_state(document: Any, codes: set[str]) -> str:
    if not isinstance(document, dict):
        raise Unreadable("not_an_object")
    if "status" not in document:
        raise Unreadable("no_status")
    state = document["status"]
    if not isinstance(state, str) or not state:
        raise Unreadable("bad_status")
    return _CONTROL.sub("\ufffd", whole(cut(state, MAX_NAME_CHARS, codes), codes))


def _result(document: Mapping[str, Any], celery_state: str, codes: set[str], budget: Budget) -> tuple[Any, bool]:
    """Return a copy of the result, and whether it is readable; a missing result is."""
    if "result" not in document:
        codes.add("no_result")
        return None, True
    stored = document["result"]
    if stored is pickle_reader.OPAQUE:
        return None, False
    try:
        if celery_state in FAILURE_STATES:
            failures = PlainCopy(codes, budget, nodes=MAX_FAILURE_NODES, longest_text=MAX_TRACEBACK_CHARS)
            return failures.copy(stored, _FAILURE_DEPTH), True
        result = PlainCopy(codes, budget).copy(stored)
    except TooLarge:
        codes.add("result_too_large")
        return None, False
    if celery_state == STARTED and isinstance(result, dict) and result.keys() == _STARTED_KEYS:
        return None, True
    return result, True


def _check_task_id(document: Mapping[str, Any], task_id: str, codes: set[str]) -> None:
    if "task_id" not in document:
        codes.add("no_task_id")
    elif document["task_id"] not in (task_id, pickle_reader.OPAQUE):
        codes.add("task_id_mismatch")


def _traceback(stored: Any, codes: set[str], budget: Budget) -> str | None:
    if stored is None or stored is pickle_reader.OPAQUE:
        return None
    if isinstance(stored, str) and not_empty(stored, codes) is None:
        return None
    try:
        copier = PlainCopy(codes, budget, characters=MAX_INLINE_SIZE, longest_text=MAX_TRACEBACK_CHARS)
        text = traceback_of(copier.copy(stored))
    except TooLarge:
        codes.add("truncated_text")
        return None
    if text is None:
        codes.add("traceback_not_text")
    return text


def _time(stored: Any, codes: set[str]) -> datetime | None:
    """Read a time in the format of any Celery version; a time without an offset is UTC."""
    if stored is None:
        return None
    if isinstance(stored, dict) and stored.keys() == {"__type__", "__value__"}:
        stored = typed_text(stored)
    try:
        if isinstance(stored, str):
            stored = _time_of_text(stored)
        if isinstance(stored, datetime):
            return stored.replace(tzinfo=UTC) if stored.tzinfo is None else stored.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    codes.add("bad_date_done")
    return None


def _time_of_text(text: str) -> datetime:
    # Python 3.13 and later accept 24:00 as the next day; Celery does not write it.
    if len(text) > _MAX_TIME_CHARS or text[11:13] == "24":
        raise ValueError(text)
    return datetime.fromisoformat(text)


def _name(stored: Any, codes: set[str]) -> str | None:
    name = not_empty(stored, codes) if isinstance(stored, str) else None
    return name and whole(name[:MAX_NAME_CHARS], set())


def _count(stored: Any) -> int:
    return stored if type(stored) is int and 0 <= stored <= MAX_RETRIES else 0
