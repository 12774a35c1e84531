"""How a request waits: for a task to be done, or for a version that its client does not know yet."""

from collections.abc import Callable

from flask import request

from task_status_service.api.auth.authentication import caller, counted_as
from task_status_service.api.context import tracker, watcher
from task_status_service.api.requests.options import WaitPreference, is_gone
from task_status_service.errors import TaskNotFound, TooManyWatches, Unavailable
from task_status_service.status import Snapshot, TaskStatus


def read_patiently(task_id: str, waits: WaitPreference) -> Snapshot:
    """Read a task, at once or after a wait; where too many wait already, at once."""
    if not waits.seconds:
        return tracker().read(task_id, caller())
    try:
        return _wait(task_id, waits, _is_known())
    except TooManyWatches:
        return tracker().read(task_id, caller())


def wait_patiently(task: TaskStatus, waits: WaitPreference) -> TaskStatus:
    """Wait for a task that was just submitted; it is accepted whatever becomes of the wait."""
    if not waits.seconds:
        return task
    try:
        return tracker().decoded(_wait(task.id, waits, None), caller()).status
    except (TooManyWatches, TaskNotFound, Unavailable):
        return task


def _wait(task_id: str, waits: WaitPreference, is_known: Callable[[str], bool] | None) -> Snapshot:
    connection = request.environ.get("gunicorn.socket")
    return watcher().wait(
        task_id,
        waits.seconds,
        caller(),
        counted_as=counted_as(),
        is_known=is_known,
        is_gone=lambda: is_gone(connection),
    )


def _is_known() -> Callable[[str], bool] | None:
    """Tell a version that the client knows; None if it named none, so that it waits for the end."""
    known = request.if_none_match
    if not request.headers.get("If-None-Match"):
        return None
    return lambda version: known.star_tag or known.contains_weak(version)
