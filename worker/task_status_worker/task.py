"""The Task class of the kit: the start check, the retries and the generations of `replace`.

Rule: a method passes its arguments on unchanged. An app may override it with another signature, and call it so.
"""

from typing import Any

from celery.app.task import Task
from celery.exceptions import Ignore

from task_status_worker import start_check
from task_status_worker.execution import execution_of
from task_status_worker.failure import TaskFailed
from task_status_worker.record.model import Fact, Note
from task_status_worker.registry import kit_of


class StatusTask(Task):
    """The base class that the kit puts before the user's task class; each method calls the user's or Celery's."""

    abstract = True

    def before_start(self, *args: Any, **kwargs: Any) -> None:
        """End an execution whose start is denied; Celery has just stored STARTED (celery/app/trace.py)."""
        execution, kit = execution_of(self.request), kit_of(self.app)
        if execution is not None and kit is not None:
            start_check.enter(kit.recorder, execution)
        super().before_start(*args, **kwargs)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Retry, unless the task called `fail`: `autoretry_for=(Exception,)` is meant for unexpected errors."""
        error = kwargs.get("exc")  # as celery/app/autoretry.py passes it
        if isinstance(error, TaskFailed):
            raise error
        return super().retry(*args, **kwargs)

    def on_replace(self, *args: Any, **kwargs: Any) -> Any:
        """Send the replacement, then note that this id is queued again."""
        try:
            return super().on_replace(*args, **kwargs)
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
