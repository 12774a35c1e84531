"""The run: what the kit remembers of one execution, kept on Celery's request from its start to its last note."""

import uuid
from typing import Any, Final

from task_status_worker.record.model import Denial, Note

#: on `task.request`; Celery copies it along where a custom `__call__` pushes a request of its own
_ATTRIBUTE: Final = "task_status_run"


class Run:
    """Remember one execution of a task. Written by the one thread that runs it."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        #: names this execution in a record, so that a note that is written twice is counted once
        self.token = uuid.uuid4().hex
        #: the last Celery state that the task stored itself
        self.stored_state: str | None = None
        #: the meta it stored with it
        self.stored_meta: Any = None
        #: the last custom meta of a state that is not final, also one that was not written for want of time
        self.custom_meta: Any = None
        #: when progress was last written, in seconds by a monotonic clock
        self.reported_at: float | None = None
        #: what it asks its record before it starts, until that has answered
        self.question: Note | None = None
        #: why it may not start, as the record said
        self.denial: Denial | None = None
        #: it was to be retried with other arguments than it was called with
        self.call_changed = False
        #: another task runs under this id now; what becomes of this run is of no interest
        self.replaced = False


def start_run(request: Any) -> Run:
    """Begin to remember the execution that Celery has just made the request of."""
    run = Run(request.id)
    setattr(request, _ATTRIBUTE, run)
    return run


def run_of(request: Any) -> Run | None:
    """Give the run of a request; None for a request that no worker with the kit executes."""
    run = getattr(request, _ATTRIBUTE, None)
    return run if isinstance(run, Run) else None
