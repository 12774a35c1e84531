"""How a task says how far it is, and learns that it is to stop."""

import time
from typing import Any, Final

from celery import current_app
from celery.exceptions import Ignore

from task_status_worker.execution import Run, run_of
from task_status_worker.record.model import Note
from task_status_worker.registry import kit_of

#: the Celery state under which progress is stored
PROGRESS: Final = "PROGRESS"

#: seconds between two writes of one run; a loop may report as often as it likes
MIN_INTERVAL_SECONDS: Final = 0.2


class TaskCanceled(Ignore):
    """A cancel was asked for, and the task is to stop.

    Raised by `report`. Clean up and let it pass: the task is then stored and recorded as REVOKED. One that swallows it
    goes on, and meets it again at its next report.
    """


def report(
    current: float | None = None,
    total: float | None = None,
    *,
    message: str | None = None,
    stage: str | None = None,
    **custom: Any,
) -> None:
    """Say how far the task is. Cheap in a loop: at most one write in 0.2 s, and the first and the last always pass.

    Stored as Celery state PROGRESS with a meta of those keys that are given, and in the record; what comes too soon
    to be written is still in the task's last note. Nothing happens outside a task that a worker with the kit runs, so
    that a function which reports can be called anywhere.

    Args:
        current: units done
        total: units in all; `current >= total` is the last report and always passes
        message: what the task is doing, for people
        stage: the step or phase it is in
        custom: more keys of the meta, as the result serializer can store them

    Raises:
        TaskCanceled: if a cancel was asked for
    """
    task = current_app.current_worker_task
    run = run_of(task.request) if task is not None else None
    if run is None:
        return
    known = {"current": current, "total": total, "message": message, "stage": stage}
    meta = {name: value for name, value in known.items() if value is not None} | custom
    run.custom_meta = meta
    now = time.monotonic()
    if not is_due(run.reported_at, now, is_last=current is not None and total is not None and current >= total):
        return
    run.reported_at = now
    _write(task, run, meta)


def is_due(reported_at: float | None, now: float, *, is_last: bool) -> bool:
    """Say whether a report is to be written at `now`, in seconds of the clock that gave `reported_at`."""
    return is_last or reported_at is None or now - reported_at >= MIN_INTERVAL_SECONDS


def _write(task: Any, run: Run, meta: dict[str, Any]) -> None:
    kit = kit_of(task.app)
    if kit is None:
        return
    noted = kit.recorder.note(
        Note(
            task_id=run.task_id,
            generation=task.request.replaced_task_nesting or 0,
            attempt=task.request.retries or 0,
            run=run.token,
            progress=meta,
        )
    )
    if noted is None:
        # Redis is away. Celery would wait for it, for as long as it waits for a result; progress is not worth that.
        return
    if noted.cancel_requested:
        raise TaskCanceled("a cancel was asked for")
    task.update_state(state=PROGRESS, meta=meta)
