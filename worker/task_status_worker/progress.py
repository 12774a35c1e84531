"""`report`: progress from within a task, and the way a running task learns of a cancel."""

import time
from typing import Any, Final

from celery import current_app
from celery.exceptions import Ignore

from task_status_worker.execution import Execution, execution_of
from task_status_worker.record.model import Note
from task_status_worker.registry import kit_of

#: the Celery state under which progress is stored
PROGRESS: Final = "PROGRESS"

#: seconds between two writes of one execution; reports in between are not written
MIN_INTERVAL_SECONDS: Final = 0.2


class TaskCanceled(Ignore):
    """The task was canceled and must stop.

    Raised by `report`. Clean up and re-raise it: the task is then stored and recorded as REVOKED. A task that catches
    it continues, and its next report raises it again.
    """


def report(
    current: float | None = None,
    total: float | None = None,
    *,
    message: str | None = None,
    stage: str | None = None,
    **custom: Any,
) -> None:
    """Report the progress of the task: at most one write per 0.2 s, so it is cheap in a loop.

    The first and the last report are always written. The progress is stored as Celery state PROGRESS with a meta of the
    given keys, and in the record. A report that comes too soon is still part of the task's last note. Outside a task of
    a worker with the kit this function does nothing, so that a function that reports can be called anywhere.

    Args:
        current: units done
        total: total units; `current >= total` is the last report and is always written
        message: the current activity, for people
        stage: the step or phase it is in
        custom: more keys of the meta, as the result serializer can store them

    Raises:
        TaskCanceled: a cancel is recorded
    """
    task = current_app.current_worker_task
    execution = execution_of(task.request) if task is not None else None
    if execution is None:
        return
    known = {"current": current, "total": total, "message": message, "stage": stage}
    meta = {name: value for name, value in known.items() if value is not None} | custom
    execution.custom_meta = meta
    now = time.monotonic()
    if not is_due(execution.reported_at, now, is_last=current is not None and total is not None and current >= total):
        return
    execution.reported_at = now
    _write(task, execution, meta)


def is_due(reported_at: float | None, now: float, *, is_last: bool) -> bool:
    """Return whether to write a report at `now`; both times are seconds of the same clock."""
    return is_last or reported_at is None or now - reported_at >= MIN_INTERVAL_SECONDS


def _write(task: Any, execution: Execution, meta: dict[str, Any]) -> None:
    kit = kit_of(task.app)
    if kit is None:
        return
    noted = kit.recorder.note(
        Note(
            task_id=execution.task_id,
            generation=task.request.replaced_task_nesting or 0,
            attempt=task.request.retries or 0,
            run=execution.token,
            progress=meta,
        )
    )
    if noted is None:
        # Redis is unreachable. `update_state` would wait for it as long as for a result; skip the progress instead.
        return
    if noted.cancel_requested:
        raise TaskCanceled("the task was canceled")
    task.update_state(state=PROGRESS, meta=meta)
