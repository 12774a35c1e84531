"""`fail` and `finish` for the authors of tasks, and the failure that a record keeps."""

import traceback
from typing import Any, Final, NoReturn

import msgspec
from celery import current_app, states
from celery.exceptions import Ignore

from task_status_worker.record.codec import MAX_FIELD_BYTES, shown
from task_status_worker.record.model import RecordedFailure

_MAX_NAME_CHARS: Final = 200
_MAX_MESSAGE_CHARS: Final = 2_000
_MAX_TRACEBACK_CHARS: Final = 8_000

#: states that Celery stores itself; readers would misread a task whose code stores one of them
_CELERY_STATES: Final = frozenset({*states.ALL_STATES, states.REJECTED, states.IGNORED})


#: the keys of an exception in Celery's meta
_CELERY_KEYS: Final = frozenset({"exc_type", "exc_message", "exc_module"})


class TaskFailed(Exception):
    """The failure of a task, with a code and details for its caller.

    Celery's `AsyncResult.result` returns it with its message; `code` and `details` are custom keys of the stored meta.
    """

    def __init__(
        self, message: str = "", *, code: str | None = None, details: Any = None, exc_type: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.exc_type = exc_type

    def stored_fields(self) -> dict[str, Any]:
        """Return the fields of the stored meta beside Celery's own keys, and the type if it is set."""
        fields: dict[str, Any] = self.custom_fields()
        if self.exc_type is not None:
            # Without a module, readers create a class of this name instead of importing one.
            fields.update(exc_type=self.exc_type, exc_module=None)
        return fields

    def custom_fields(self) -> dict[str, Any]:
        """Return code and details, without those that are None."""
        fields = {"code": self.code, "details": self.details}
        return {name: value for name, value in fields.items() if value is not None}


def fail(message: str, *, code: str | None = None, details: Any = None, exc_type: str | None = None) -> NoReturn:
    """End the task as failed, with a message, code and details for its caller.

    Raises an ordinary exception, so links, chords, chains, events and `on_failure` see the failure;
    `update_state("FAILURE")` followed by `raise Ignore()` hides it from them. `autoretry_for` does not retry it.

    Args:
        message: the cause, for people
        code: the cause, for programs
        details: more data; values that JSON cannot hold are stored as text
        exc_type: the name under which the failure is stored instead of `TaskFailed`

    Raises:
        TaskFailed: always
    """
    raise TaskFailed(message, code=code, details=_plain(details), exc_type=exc_type)


def _plain(details: Any) -> Any:
    """Convert details to JSON values now: an error while storing them would replace this failure by another one."""
    try:
        return msgspec.to_builtins(details, str_keys=True, enc_hook=shown)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # The value contains itself, or has keys that are not texts.
        return shown(details)


def finish(state: str, meta: Any = None) -> NoReturn:
    """End the task in a custom state, such as `PARTIAL`, with `meta` as its final meta.

    Does the same as `update_state` and `raise Ignore()`, and records the state, so that readers know that the task has
    ended. Celery's links, chains and chords do not continue after it.

    Raises:
        ValueError: `state` is one that Celery stores itself
        celery.exceptions.Ignore: always otherwise
    """
    if not state or state in _CELERY_STATES:
        raise ValueError(f"{state!r} is Celery's own state: return, raise or call fail() to end a task in it")
    task = current_app.current_worker_task
    if task is not None:
        task.update_state(state=state, meta=meta)
    raise Ignore(f"finished as {state}")


def failure_of(error: BaseException, *, with_traceback: bool = True) -> RecordedFailure:
    """Return the failure that a record keeps of an exception."""
    lines = traceback.format_exception(error) if with_traceback and error.__traceback__ is not None else None
    return bounded(
        RecordedFailure(
            type=(error.exc_type if isinstance(error, TaskFailed) else None) or type(error).__qualname__,
            module=type(error).__module__,
            message=_text_of(error),
            details=(error.custom_fields() or None) if isinstance(error, TaskFailed) else None,
            traceback="".join(lines) if lines else None,
        )
    )


def failure_in_meta(meta: Any) -> RecordedFailure | None:
    """Return the failure that a record keeps of a meta that the task stored itself, completed by `readable_meta`."""
    if not isinstance(meta, dict):
        return None
    message = meta.get("exc_message")
    lines = message if isinstance(message, list | tuple) else [message]
    return bounded(
        RecordedFailure(
            type=str(meta.get("exc_type")),
            module=meta.get("exc_module") and str(meta["exc_module"]),
            message="\n".join(str(line) for line in lines),
            details={name: meta[name] for name in meta if name not in _CELERY_KEYS} or None,
        )
    )


def bounded(failure: RecordedFailure) -> RecordedFailure:
    """Shorten texts so that the packed failure fits into a field; drop the traceback first, then the details."""
    cut = RecordedFailure(
        type=_cut(failure.type, _MAX_NAME_CHARS),
        module=_cut(failure.module, _MAX_NAME_CHARS),
        message=_cut(failure.message, _MAX_MESSAGE_CHARS),
        details=failure.details,
        traceback=_cut_start(failure.traceback, _MAX_TRACEBACK_CHARS),
    )
    without_traceback = msgspec.structs.replace(cut, traceback=None)
    for candidate in (cut, without_traceback):
        if _packed_bytes(candidate) <= MAX_FIELD_BYTES:
            return candidate
    return msgspec.structs.replace(without_traceback, details=None)


def _packed_bytes(failure: RecordedFailure) -> int:
    try:
        return len(msgspec.json.encode(failure, enc_hook=shown))
    except (TypeError, ValueError, OverflowError, RecursionError):
        return MAX_FIELD_BYTES + 1


def _text_of(error: BaseException) -> str:
    if isinstance(error, KeyError) and len(error.args) == 1 and isinstance(error.args[0], str):
        return error.args[0]  # str() of a KeyError is the repr of its argument
    return shown(error)


def _cut(text: str | None, max_chars: int) -> str | None:
    """Keep the start of a text, and replace characters that UTF-8 cannot encode."""
    if text is None:
        return None
    shown = text if len(text) <= max_chars else text[: max_chars - 1] + "…"
    return shown.encode("utf-8", "replace").decode()


def _cut_start(text: str | None, max_chars: int) -> str | None:
    """Keep the end of a text: a traceback names its exception there."""
    if text is None:
        return None
    shown = text if len(text) <= max_chars else "…" + text[1 - max_chars :]
    return shown.encode("utf-8", "replace").decode()
