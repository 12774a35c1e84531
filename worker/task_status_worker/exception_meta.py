"""Completes metas of FAILURE, RETRY and REVOKED so that Celery's own reader can read them back. Pure.

`AsyncResult.state` and `.result` turn the meta of these states into an exception and raise where it does not name one
(celery/backends/base.py, exception_to_python). Worse, a worker reads the old value before it writes a new one, so a
meta that cannot be read is never overwritten and the task's real outcome is lost.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from task_status_worker.record.model import MESSAGE_KEYS

#: the states whose meta Celery reads as an exception (celery.states.EXCEPTION_STATES)
_EXCEPTION_STATES: Final = frozenset({"FAILURE", "RETRY", "REVOKED"})

#: exc_type and exc_module for a meta that names no exception; real classes, so that a reader gets an instance of one
_DEFAULT_EXCEPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "FAILURE": ("TaskFailed", "task_status_worker.failure"),
    "RETRY": ("Retry", "celery.exceptions"),
    "REVOKED": ("TaskRevokedError", "celery.exceptions"),
}

_MISSING: Final = object()


def readable_meta(meta: Any, state: str | None) -> Any:
    """Complete a meta so that every Celery reader can read it. A readable meta and custom keys stay unchanged."""
    if state not in _EXCEPTION_STATES or isinstance(meta, BaseException):
        return meta
    if state == "RETRY" and not meta:
        return meta  # Celery stores this for a retry without an exception, and reads it as None
    if not isinstance(meta, Mapping):
        return _exception_meta(state, _messages(meta))
    if _names_an_exception(meta):
        return meta
    completed = {**meta, **_exception_meta(state, _messages_of_mapping(meta, state))}
    exc_type = meta.get("exc_type")
    if _names_a_type(exc_type):
        # The named type is no exception of its module: keep the name, without module Celery creates a class for it.
        completed.update(exc_type=exc_type, exc_module=None)
    return completed


def _names_a_type(exc_type: object) -> TypeGuard[str]:
    """Return whether Celery can create an exception class of that name."""
    if not isinstance(exc_type, str) or not exc_type:
        return False
    try:
        type(exc_type, (), {})
    except ValueError:
        return False
    return True


def _exception_meta(state: str, messages: list[str]) -> dict[str, Any]:
    exc_type, exc_module = _DEFAULT_EXCEPTIONS[state]
    return {"exc_type": exc_type, "exc_message": messages, "exc_module": exc_module}


def _names_an_exception(meta: Mapping[Any, Any]) -> bool:
    """Apply the rule of `exception_to_python`: an existing name must be an exception class, any other becomes one."""
    exc_type, exc_module = meta.get("exc_type"), meta.get("exc_module")
    if not _names_a_type(exc_type) or not isinstance(exc_module, str | None):
        return False
    if exc_module is None or exc_module not in sys.modules:
        return True
    found: Any = sys.modules[exc_module]
    for name in exc_type.split("."):
        found = getattr(found, name, _MISSING)
        if found is _MISSING:
            return True
    return isinstance(found, type) and issubclass(found, BaseException)


def _messages(meta: Any) -> list[str]:
    if meta is None:
        return []
    if isinstance(meta, list | tuple):
        return [str(item) for item in meta]
    return [str(meta)]


def _messages_of_mapping(meta: Mapping[Any, Any], state: str) -> list[str]:
    values = [meta[key] for key in ("exc_message", *MESSAGE_KEYS) if meta.get(key)]
    if values:
        return _messages(next((value for value in values if not isinstance(value, Mapping)), values[0]))
    texts = [value for value in meta.values() if isinstance(value, str) and value]
    return texts if len(texts) == 1 else [f"the task stored {state} without a message"]
