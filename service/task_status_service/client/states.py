"""The states of a task, as the HTTP API documents them.

A separate list, so that the client does not import the service; a unit test compares both.
"""

from typing import Final

TASK_STATES: Final = (
    "queued",
    "running",
    "retrying",
    "canceling",
    "succeeded",
    "failed",
    "canceled",
    "expired",
    "finished",
    "unknown",
)
