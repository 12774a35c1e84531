"""The execution: one start of a task by a worker, kept on Celery's request until its last note."""

import secrets
from typing import Any, Final

from celery import states
from celery.app.task import Context

from task_status_worker.exception_meta import readable_meta
from task_status_worker.record.model import Denial, Note

#: attribute of `task.request`; Celery copies it if a custom `__call__` pushes its own request
_ATTRIBUTE: Final = "task_status_execution"
# Celery sends every attribute of a pushed request that its class does not have as a header of the next message, such as
# that of a retry (celery/app/task.py, Context._get_custom_headers).
setattr(Context, _ATTRIBUTE, None)
#: states whose meta is a return value or an exception
_WITHOUT_CUSTOM_META: Final = states.READY_STATES | states.EXCEPTION_STATES


class Execution:
    """The state of one execution. Only the thread that executes the task writes it."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        #: identifies this execution among those of its task, so that a note that is written twice is counted once
        self.token = secrets.token_hex(8)
        #: the last Celery state that the task stored itself
        self.stored_state: str | None = None
        #: the meta stored with that state
        self.stored_meta: Any = None
        #: the last custom meta of a state that is not final, including one that the rate limit of `report` skipped
        self.custom_meta: Any = None
        #: when progress was last written, in seconds of a monotonic clock
        self.reported_at: float | None = None
        #: the note that requests the start; None once the record has answered
        self.start_note: Note | None = None
        #: why the record denies the start; None if it does not
        self.denial: Denial | None = None
        #: another task has taken over this id, so the end of this execution is not recorded
        self.replaced = False

    def remember_stored(self, state: str, meta: Any) -> None:
        """Keep a state that was stored while the task ran, for the last note of the execution."""
        self.stored_state, self.stored_meta = state, readable_meta(meta, state)
        if state not in _WITHOUT_CUSTOM_META:
            # A copy, because the task may change the dict after it has stored it.
            self.custom_meta = dict(meta) if isinstance(meta, dict) else meta


def start_execution(request: Any) -> Execution:
    """Attach a new execution to the request that Celery has just created."""
    execution = Execution(request.id)
    setattr(request, _ATTRIBUTE, execution)
    return execution


def execution_of(request: Any) -> Execution | None:
    """Return the execution of a request; None if no worker with the kit executes it."""
    execution = getattr(request, _ATTRIBUTE, None)
    return execution if isinstance(execution, Execution) else None
