"""The start check: an execution asks its record for permission, and ends before the task's code if it is denied."""

import msgspec
from celery.exceptions import Ignore

from task_status_worker.execution import Execution
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Denial
from task_status_worker.recorder import Recorder


class NothingToDo(Ignore):
    """The task has ended or another execution has this attempt: acknowledge the message and store nothing."""


class DeliveryLimitReached(Exception):
    """The message was redelivered up to the delivery limit, and no execution has ended."""


def ask(recorder: Recorder, execution: Execution, *, insists: bool = False) -> None:
    """Ask the record for permission to start; `start_note` stays set if Redis does not answer."""
    if execution.start_note is None:
        return
    noted = recorder.ask(execution.start_note, insists=insists)
    if noted is not None:
        execution.start_note, execution.denial = None, noted.denial


def enter(recorder: Recorder, execution: Execution) -> None:
    """Let an execution begin unless its record denies it. Without an answer it begins, and is recorded later.

    Raises:
        TaskCanceled: a cancel is recorded; the task ends as REVOKED
        DeliveryLimitReached: the task ends as FAILURE
        NothingToDo: the task has ended, or another execution records its end
    """
    # Asked again: since the first time Celery has stored STARTED, for which it waits until Redis is back.
    ask(recorder, execution, insists=True)
    if execution.start_note is not None:
        recorder.keep(msgspec.structs.replace(execution.start_note, start_request=None))
        execution.start_note = None
    match execution.denial:
        case None:
            return
        case Denial.CANCELED:
            raise TaskCanceled("the task was canceled before it started")
        case Denial.DELIVERY_LIMIT:
            raise DeliveryLimitReached(
                "No execution has ended: each time the worker was lost and the broker redelivered the message."
            )
        case Denial.ENDED:
            raise NothingToDo("the task has ended")
        case Denial.DUPLICATE:
            raise NothingToDo("another execution has this attempt of the task")
