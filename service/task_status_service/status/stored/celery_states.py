"""Celery's words for a state, as `celery.states` spells them: exact and case-sensitive."""

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
#: `celery.contrib.abortable`: asked to stop; the task may still end in any state
ABORTED: Final = "ABORTED"

#: Celery rebuilds an exception from the result of these: `celery.states.EXCEPTION_STATES`
EXCEPTION_STATES: Final = frozenset({FAILURE, RETRY, REVOKED})
#: the result of these is a failure, not a custom meta
FAILURE_STATES: Final = EXCEPTION_STATES | {REJECTED}
#: a task that stored one of these and then ended with `Ignore` has not named a state of its own
UNFINISHED_STATES: Final = frozenset({PENDING, RECEIVED, STARTED, PROGRESS, RETRY})
