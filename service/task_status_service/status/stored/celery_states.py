"""Celery's states, as in `celery.states`; case-sensitive."""

from typing import Final

PENDING: Final = "PENDING"
RECEIVED: Final = "RECEIVED"
STARTED: Final = "STARTED"
PROGRESS: Final = "PROGRESS"
RETRY: Final = "RETRY"
SUCCESS: Final = "SUCCESS"
FAILURE: Final = "FAILURE"
REVOKED: Final = "REVOKED"
REJECTED: Final = "REJECTED"
IGNORED: Final = "IGNORED"
#: `celery.contrib.abortable`: a stop is requested; the task may still end in any state
ABORTED: Final = "ABORTED"

#: states whose result Celery converts back to an exception: `celery.states.EXCEPTION_STATES`
EXCEPTION_STATES: Final = frozenset({FAILURE, RETRY, REVOKED})
#: states whose result is a failure, not a custom meta
FAILURE_STATES: Final = EXCEPTION_STATES | {REJECTED}
#: states that are not the outcome of a task that ended with `Ignore`
UNFINISHED_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, PROGRESS, RETRY})
