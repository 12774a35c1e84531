"""What a caller may see of a status: no credentials, and from outside nothing of where and how tasks run.

Only what was raised is changed. A result, a progress and a custom meta are what an author chose to show.
"""

import enum

import msgspec

from task_status_service.redaction import hide_paths, hide_paths_in, redact, redact_value
from task_status_service.status.model import Failure, TaskStatus


class Visibility(enum.Enum):
    """Say from where a status is looked at."""

    #: no traceback, no worker name, no paths of files in what an exception says
    PUBLIC = "outside"
    #: all but credentials
    OPERATOR = "inside"


def redact_for(status: TaskStatus, view: Visibility) -> TaskStatus:
    """Give what is seen of a status."""
    is_inside = view is Visibility.OPERATOR
    if status.failure is None and (is_inside or status.worker is None):
        return status
    return msgspec.structs.replace(
        status,
        worker=status.worker if is_inside else None,
        failure=None if status.failure is None else _seen_failure(status.failure, is_inside=is_inside),
    )


def _seen_failure(failure: Failure, *, is_inside: bool) -> Failure:
    message = redact(failure.message)
    details = redact_value(failure.details)
    return msgspec.structs.replace(
        failure,
        # A class has a name, which needs no look; what an author makes up may be any text.
        type=failure.type if failure.type is None or failure.type.isidentifier() else redact(failure.type),
        message=message if is_inside else hide_paths(message),
        details=details if is_inside else hide_paths_in(details),
        traceback=redact(failure.traceback) if is_inside and failure.traceback is not None else None,
    )
