"""Classify failures by the name of the exception alone."""

from collections.abc import Mapping
from typing import Final

from task_status_service.status.model import FailureKind

#: (package, class) -> kind; the package is the first part of the module
_KINDS: Final[Mapping[tuple[str, str], FailureKind]] = {
    ("billiard", "SoftTimeLimitExceeded"): FailureKind.TIMEOUT,
    ("celery", "SoftTimeLimitExceeded"): FailureKind.TIMEOUT,
    ("billiard", "TimeLimitExceeded"): FailureKind.TIMEOUT,
    ("celery", "TimeLimitExceeded"): FailureKind.TIMEOUT,
    ("billiard", "WorkerLostError"): FailureKind.WORKER_LOST,
    ("celery", "WorkerLostError"): FailureKind.WORKER_LOST,
    ("task_status_worker", "DeliveryLimitReached"): FailureKind.WORKER_LOST,
    # Recorded by this service (use_cases/lost_workers.py): no exception was raised.
    ("", "WorkerLost"): FailureKind.WORKER_LOST,
    ("celery", "Reject"): FailureKind.REJECTED,
    ("celery", "NotRegistered"): FailureKind.NOT_REGISTERED,
    ("celery", "TaskRevokedError"): FailureKind.CANCELED,
    ("celery", "BackendStoreError"): FailureKind.INFRASTRUCTURE,
    ("kombu", "EncodeError"): FailureKind.NOT_SERIALIZABLE,
}

#: packages whose other exceptions mean that Redis or the broker failed
_INFRASTRUCTURE: Final = frozenset({"redis", "kombu"})

#: messages for exceptions that have no readable message
KNOWN_TEXTS: Final[Mapping[tuple[str, str], str]] = {
    ("billiard", "SoftTimeLimitExceeded"): "soft time limit exceeded",
    ("celery", "SoftTimeLimitExceeded"): "soft time limit exceeded",
    ("billiard", "TimeLimitExceeded"): "hard time limit exceeded",
    ("celery", "TimeLimitExceeded"): "hard time limit exceeded",
}


def name_of(module: str | None, type_: str | None) -> tuple[str, str]:
    """Return the package and class of an exception, as in the tables of this module."""
    return ((module or "").partition(".")[0], type_ or "")


def classify(module: str | None, type_: str | None) -> FailureKind:
    """Return the kind of failure for an exception of this module and class."""
    package, name = name_of(module, type_)
    otherwise = FailureKind.INFRASTRUCTURE if package in _INFRASTRUCTURE else FailureKind.EXCEPTION
    return _KINDS.get((package, name), otherwise)
