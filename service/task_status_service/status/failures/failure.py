"""Decode the stored result of a FAILURE, RETRY, REVOKED or REJECTED to a `Failure`. No class is looked up or built."""

import builtins
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from task_status_worker.record.model import RecordedFailure

from task_status_service.status.failures.kinds import KNOWN_TEXTS, classify, name_of
from task_status_service.status.failures.messages import (
    TRACEBACK_START,
    is_lines,
    last_line,
    message_in,
    text_of,
    traceback_of,
)
from task_status_service.status.model import Failure, FailureKind
from task_status_service.status.stored.bounds import (
    MAX_FAILURE_NODES,
    MAX_MESSAGE_CHARS,
    MAX_NAME_CHARS,
    MAX_TRACEBACK_CHARS,
)
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.celery_states import EXCEPTION_STATES, RETRY, REVOKED
from task_status_service.status.stored.meta import Meta
from task_status_service.status.stored.plain_json import PlainCopy, TooLarge, cut, not_empty

#: `OSError` and its subclasses: their arguments are a number and a text
_OS_ERRORS: Final = frozenset(
    name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, OSError)
)
#: `str` of a class, which celery-progress stores instead of the name
_CLASS_TEXT: Final = re.compile(r"<class '(.+)'>")
#: states that may have no failure
_FAILURE_OPTIONAL: Final = frozenset({RETRY, REVOKED})


class _Draft(msgspec.Struct, kw_only=True):
    """A failure that is not yet complete: each rule fills in missing fields."""

    type: str | None = None
    module: str | None = None
    message: str | None = None
    details: Any = None
    traceback: str | None = None

    @property
    def name(self) -> tuple[str, str]:
        return name_of(self.module, self.type)


def decode_failure(meta: Meta, codes: set[str], *, kind: FailureKind | None = None) -> Failure | None:
    """Return the failure in the result and traceback of a meta; None for a retry or cancel without one.

    `kind` overrides the kind of the exception, where the state is more specific.
    """
    draft = _Draft(traceback=meta.traceback)
    fields = _fields(meta.result)
    if meta.celery_state in EXCEPTION_STATES and meta.result and not _celery_can_read(fields):
        codes.add("nonstandard_failure")
    if fields is None:
        _fill_from_value(draft, meta.result)
    else:
        _fill_from_fields(draft, fields, codes)
    if not draft.message:
        draft.message = KNOWN_TEXTS.get(draft.name)
    if not draft.message and draft.traceback is not None:
        _fill_from_traceback(draft, draft.traceback)
    if meta.celery_state in _FAILURE_OPTIONAL and draft == _Draft():
        return None
    if not meta.result_readable and draft.type is None:
        kind = kind or FailureKind.UNREADABLE
    return _finish(draft, codes, kind)


def failure_of_record(
    recorded: RecordedFailure, codes: set[str], budget: Budget, *, kind: FailureKind | None = None
) -> Failure:
    """Return the failure that a worker recorded; `kind` overrides the kind of the exception."""
    try:
        details = PlainCopy(codes, budget, nodes=MAX_FAILURE_NODES).copy(recorded.details)
    except TooLarge:
        codes.add("result_too_large")
        details = None
    draft = _Draft(
        type=recorded.type,
        module=recorded.module,
        message=recorded.message,
        details=details,
        traceback=recorded.traceback,
    )
    return _finish(draft, codes, kind)


def _finish(draft: _Draft, codes: set[str], kind: FailureKind | None) -> Failure:
    def bounded(text: str | None, longest: int) -> str | None:
        given = not_empty(text, codes)
        return None if given is None else cut(given, longest, codes)

    return Failure(
        kind=kind or classify(draft.module, draft.type),
        type=bounded(draft.type, MAX_NAME_CHARS),
        module=bounded(draft.module, MAX_NAME_CHARS),
        message=cut(draft.message or "", MAX_MESSAGE_CHARS, codes),
        details=_without_nesting(draft.details),
        traceback=bounded(draft.traceback, MAX_TRACEBACK_CHARS),
    )


def _without_nesting(details: Any) -> Any:
    """Return details whose value under the key `details` takes their place, or joins the other keys.

    `fail(details=…)` of the worker kit stores that key, and so do many tasks. The details stay nested if a key would be
    lost: if the value is not an object, or has a key that also exists beside it.
    """
    match details:
        case {"details": inner} if len(details) == 1:
            return inner
        case {"details": dict(inner), **others} if inner.keys().isdisjoint(others):
            return others | inner
        case _:
            return details


def _fields(stored: Any) -> dict[str, Any] | None:
    """Return the fields of an object; as in Celery, a list of pairs is also an object."""
    match stored:
        case dict():
            return stored
        case [[str(), _], *_] if all(_is_pair(item) for item in stored):
            return dict(stored)
        case _:
            return None


def _is_pair(item: Any) -> bool:
    match item:
        case [str(), _]:
            return True
        case _:
            return False


def _celery_can_read(fields: Mapping[str, Any] | None) -> bool:
    """Return whether Celery can read the failure. Source: celery/backends/base.py, exception_to_python."""
    return (
        fields is not None
        and isinstance(fields.get("exc_type"), str)
        and not isinstance(fields.get("exc_module"), list | dict)
    )


def _fill_from_value(draft: _Draft, stored: Any) -> None:
    """Read a stored value that is not an object; an empty or false one is ignored."""
    if not stored:
        return
    if isinstance(stored, list) and not is_lines(stored):
        draft.details = stored
        return
    text = "\n".join(stored) if isinstance(stored, list) else text_of(stored)
    if text.startswith(TRACEBACK_START):
        _fill_from_traceback(draft, text)
    else:
        draft.message = text


def _fill_from_traceback(draft: _Draft, traceback: str) -> None:
    line = last_line(traceback)
    draft.message = line.message
    if draft.type is None:
        draft.type, draft.module = line.type, line.module
    if draft.traceback is None:
        draft.traceback = traceback


def _fill_from_fields(draft: _Draft, fields: Mapping[str, Any], codes: set[str]) -> None:
    details = dict(fields)
    if isinstance(fields.get("exc_type"), str):
        draft.type = not_empty(details.pop("exc_type"), codes)
    elif "exc_type" in fields:
        codes.add("exc_type_not_text")
    if isinstance(fields.get("exc_module"), str):
        draft.module = not_empty(details.pop("exc_module"), codes)
    if draft.traceback is None:
        draft.traceback = traceback_of(fields.get("traceback"))
        if draft.traceback is not None:
            del details["traceback"]
    _tidy_type(draft)
    _fill_from_arguments(draft, _arguments(draft, details.pop("exc_message", None), codes))
    if not draft.message and draft.name not in KNOWN_TEXTS:
        draft.message = message_in(details)
    draft.details = {**(draft.details or {}), **details} or None


def _tidy_type(draft: _Draft) -> None:
    """Extract the name from `<class 'module.Type'>`; split a dotted name if no module is stored."""
    class_text = _CLASS_TEXT.fullmatch(draft.type or "")
    if class_text:
        draft.type = class_text[1]
    if draft.type and draft.module is None:
        module, _, name = draft.type.rpartition(".")
        if module and name:
            draft.module, draft.type = module, name


def _arguments(draft: _Draft, stored: Any, codes: set[str]) -> Any:
    """Return the arguments of an exception, without the wrapper that Celery may add.

    Source: celery/utils/serialization.py, UnpickleableExceptionWrapper; celery/worker/request.py, on_retry.
    """
    match draft.name, stored:
        case ("celery", "UnpickleableExceptionWrapper"), [str(module), str(name), list(inner), text]:
            codes.add("unwrapped_exception")
            draft.module, draft.type = module, name
            return inner if is_lines(inner) and len(inner) == 1 else text
        case ("celery", "Retry"), [str(text), *_] if text.startswith("Retry(Retry("):
            # After a cold shutdown of the worker only the repr of the Retry is stored, not its text.
            codes.add("cancelled_by_worker")
            return "the worker was stopped while the task ran"
        case ("celery", "Reject"), [reason, *_]:
            return [reason]
        case _:
            return stored


def _fill_from_arguments(draft: _Draft, arguments: Any) -> None:
    """Read `exc_message`: the arguments of the exception, or any value that the task author stored."""
    match arguments:
        case None | [] | [None]:
            return
        case dict(fields) | [dict(fields)]:
            draft.message = message_in(fields)
            if draft.message is None:
                draft.message = text_of(fields)
            else:
                draft.details = fields
        case [str(first), *_] if first.startswith(TRACEBACK_START) and is_lines(arguments):
            _fill_from_traceback(draft, "\n".join(arguments))
        case [list(lines)] if is_lines(lines):
            draft.message = "\n".join(lines)
        case [int(seconds) | float(seconds)] if draft.name in KNOWN_TEXTS:
            draft.message = f"{KNOWN_TEXTS[draft.name]} ({seconds} s)"
        case [int(number), str(text)] if draft.module == "builtins" and draft.type in _OS_ERRORS:
            draft.message = _message_of_traceback(draft) or f"[Errno {number}] {text}"
        case [_, _, *_]:
            joined = ", ".join(text_of(argument) for argument in arguments if argument is not None)
            draft.message = _message_of_traceback(draft) or joined or None
        case [only]:
            draft.message = text_of(only)
        case _:
            draft.message = text_of(arguments)


def _message_of_traceback(draft: _Draft) -> str | None:
    """Return the message in the last line of the traceback, as Python printed it, if the type is the same."""
    if draft.traceback is None or draft.type is None:
        return None
    line = last_line(draft.traceback)
    return line.message if line.type == draft.type else None
