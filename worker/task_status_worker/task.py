"""The Task class of the kit: remembers what a task stores itself, and keeps the generations of `replace`."""

from typing import Any

from celery.app.task import Task
from celery.exceptions import Ignore

from task_status_worker import start_check
from task_status_worker.exception_meta import readable_meta
from task_status_worker.execution import run_of
from task_status_worker.failure import TaskFailed
from task_status_worker.record.model import Fact, Note
from task_status_worker.registry import kit_of


class StatusTask(Task):
    """Come before the user's task class; every method ends in the user's own or Celery's."""

    abstract = True

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """End a run here that may not start; Celery has just said that it starts (celery/app/trace.py)."""
        run, kit = run_of(self.request), kit_of(self.app)
        if run is not None and kit is not None:
            start_check.enter(kit.recorder, run)
        super().before_start(task_id, args, kwargs)

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state, and remember it for the task's last note."""
        super().update_state(task_id=task_id, state=state, meta=meta, **kwargs)
        run = run_of(self.request)
        if run is None or task_id not in (None, run.task_id):
            return
        run.stored_state = state
        run.stored_meta = readable_meta(meta, state)
        if state not in self.backend.READY_STATES:
            # A copy: the task may go on to fill the dict that it has just stored.
            run.custom_meta = dict(meta) if isinstance(meta, dict) else meta

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: BaseException | None = None,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Retry, unless the task itself said that it failed: `autoretry_for=(Exception,)` means what is unforeseen."""
        if isinstance(exc, TaskFailed):
            raise exc
        run = run_of(self.request)
        if run is not None and (args is not None or kwargs is not None):
            run.call_changed = True
        return super().retry(args, kwargs, exc, *more, **options)

    def on_replace(self, sig: Any) -> Any:
        """Send the replacement, then note that this id waits in a queue once more."""
        try:
            return super().on_replace(sig)
        except Ignore:
            self._note_replaced()
            raise

    def _note_replaced(self) -> None:
        run, kit = run_of(self.request), kit_of(self.app)
        if run is None or kit is None:
            return
        run.replaced = True
        # Without this run's token: the replacement may have been received or even started already, and then this
        # note must not put it back.
        kit.recorder.note(
            Note(task_id=run.task_id, fact=Fact.REQUEUED, generation=(self.request.replaced_task_nesting or 0) + 1)
        )
