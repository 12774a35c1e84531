"""Remove from a status the values that its reader may not see: credentials, and for the public also internals.

Only the failure and the worker are changed. The task author chose to show results, progress and custom meta.
"""

import enum

import msgspec

from task_status_service.redaction import hide_paths, hide_paths_in, redact, redact_value
from task_status_service.status.model import Failure, TaskStatus


class Visibility(enum.Enum):
    """The kind of reader of a status."""

    #: sees no traceback, no worker name and no file path in a failure
    PUBLIC = "outside"
    #: sees everything except credentials
    OPERATOR = "inside"


def redact_for(status: TaskStatus, view: Visibility) -> TaskStatus:
    """Return the status as readers of this visibility see it."""
    is_operator = view is Visibility.OPERATOR
    if status.failure is None and (is_operator or status.worker is None):
        return status
    return msgspec.structs.replace(
        status,
        worker=status.worker if is_operator else None,
        failure=None if status.failure is None else _redacted_failure(status.failure, is_operator=is_operator),
    )


def _redacted_failure(failure: Failure, *, is_operator: bool) -> Failure:
    def shown(text: str | None) -> str | None:
        if text is None:
            return None
        return redact(text) if is_operator else hide_paths(redact(text))

    message = redact(failure.message)
    details = redact_value(failure.details)
    return msgspec.structs.replace(
        failure,
        # A stored name is any text: it may contain a secret, or be one.
        type=shown(failure.type),
        module=shown(failure.module),
        message=message if is_operator else hide_paths(message),
        details=details if is_operator else hide_paths_in(details),
        traceback=redact(failure.traceback) if is_operator and failure.traceback is not None else None,
    )
