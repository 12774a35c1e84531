"""The pure core: decodes the stored bytes of a task to a `TaskStatus`. No Flask, Celery, Redis or clock."""

from task_status_service.status.decode import decode, is_ending
from task_status_service.status.model import (
    LOST_SECONDS,
    STALLED_SECONDS,
    Diagnostic,
    Failure,
    FailureKind,
    FinalStates,
    Liveness,
    PollTimes,
    Progress,
    Snapshot,
    TaskState,
    TaskStatus,
)
from task_status_service.status.precedence import PRECEDENCE
from task_status_service.status.stored.bounds import MAX_INLINE_SIZE, MAX_LISTED_SIZE, MAX_RESULT_SIZE, MAX_STORED_BYTES
from task_status_service.status.stored.budget import INLINE, LISTED, RESULT, UNSEEN, Budget, Limits
from task_status_service.status.visibility import Visibility, redact_for

__all__ = [
    "INLINE",
    "LISTED",
    "LOST_SECONDS",
    "MAX_INLINE_SIZE",
    "MAX_LISTED_SIZE",
    "MAX_RESULT_SIZE",
    "MAX_STORED_BYTES",
    "PRECEDENCE",
    "RESULT",
    "STALLED_SECONDS",
    "UNSEEN",
    "Budget",
    "Diagnostic",
    "Failure",
    "FailureKind",
    "FinalStates",
    "Limits",
    "Liveness",
    "PollTimes",
    "Progress",
    "Snapshot",
    "TaskState",
    "TaskStatus",
    "Visibility",
    "decode",
    "is_ending",
    "redact_for",
]
