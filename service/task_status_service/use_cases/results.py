"""The result of a task, also if it is too large for the status."""

from typing import Any

from task_status_service.errors import NoResult, TaskExpired, TaskNotDone
from task_status_service.status import TaskStatus


def result_of(status: TaskStatus) -> Any:
    """Return the result in the status of a task that has succeeded.

    Raises:
        TaskNotDone: the task is not done, so it has no result yet.
        NoResult: the task did not succeed, or its result is not stored or too large.
        TaskExpired: the result has expired.
    """
    codes = {diagnostic.code for diagnostic in status.diagnostics}
    if not status.done:
        raise TaskNotDone
    if "result_expired" in codes:
        raise TaskExpired("The result of this task has expired: submit the task again if you need it.")
    if not status.successful:
        raise NoResult
    if "result_too_large" in codes:
        raise NoResult("The result is larger than this service reads: read it from the result backend.")
    return status.result
