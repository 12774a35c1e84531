"""The Task class of the kit: tracks the states that a task stores itself, and the generations of `replace`."""

from typing import Any

from celery.app.task import Task
from celery.exceptions import Ignore

from task_status_worker import start_check
from task_status_worker.exception_meta import readable_meta
from task_status_worker.execution import execution_of
from task_status_worker.failure import TaskFailed
from task_status_worker.record.model import Fact, Note
from task_status_worker.registry import kit_of


class StatusTask(Task):
    """The base class that the kit puts before the user's task class; each method calls the user's or Celery's."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """End an execution whose start is denied; Celery has just stored STARTED (celery/app/trace.py)."""
        execution, kit = execution_of(self.request), kit_of(self.app)
        if execution is not None and kit is not None:
            start_check.enter(kit.recorder, execution)
        super().before_start(task_id, args, kwargs)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state, and keep it for the task's last note."""
        super().update_state(task_id=task_id, state=state, meta=meta, **kwargs)
        execution = execution_of(self.request)
        if execution is None or task_id not in (None, execution.task_id):
            return
        execution.stored_state = state
        execution.stored_meta = readable_meta(meta, state)
        if state not in self.backend.READY_STATES:
            # A copy, because the task may change the dict after it has stored it.
            execution.custom_meta = dict(meta) if isinstance(meta, dict) else meta

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Retry, unless the task called `fail`: `autoretry_for=(Exception,)` is meant for unexpected errors."""
        if isinstance(exc, TaskFailed):
            raise exc
        execution = execution_of(self.request)
        if execution is not None and (args is not None or kwargs is not None):
            execution.call_changed = True
        return super().retry(args, kwargs, exc, *more, **options)

    def on_replace(self, sig: Any) -> Any:
        """Send the replacement, then note that this id is queued again."""
        try:
            return super().on_replace(sig)
        except Ignore:
            self._note_replaced()
            raise

    def _note_replaced(self) -> None:
        execution, kit = execution_of(self.request), kit_of(self.app)
        if execution is None or kit is None:
            return
        execution.replaced = True
        # Without the token of this execution: the replacement may already be received or started, and then this note
        # must not move the record back.
        kit.recorder.note(
            Note(
                task_id=execution.task_id, fact=Fact.REQUEUED, generation=(self.request.replaced_task_nesting or 0) + 1
            )
        )
