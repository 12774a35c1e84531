"""The gate: what a run that may not start ends with, raised where the task's own code would have begun."""

from celery.exceptions import Ignore

from task_status_worker.progress import TaskCanceled
from task_status_worker.record import Refusal
from task_status_worker.run import Run


class NothingToDo(Ignore):
    """The task has ended, or another run has this attempt: the message is acknowledged, and nothing is stored."""


class DeliveryLimitReached(Exception):
    """The task's message was delivered again and again, and no run has lived to say how it ended."""


def check(run: Run) -> None:
    """Let a run go on unless the record refused its start.

    Raises:
        TaskCanceled: a cancel is recorded; the task ends as REVOKED
        DeliveryLimitReached: the task ends as FAILURE
        NothingToDo: somebody else says, or has said, how it ends
    """
    match run.refusal:
        case None:
            return
        case Refusal.CANCELED:
            raise TaskCanceled("a cancel was asked for before it started")
        case Refusal.DELIVERY_LIMIT:
            raise DeliveryLimitReached(
                "No run of the task has ended: each time the worker was lost, and its message was delivered again."
            )
        case Refusal.ENDED:
            raise NothingToDo("the task has ended")
        case Refusal.COPY:
            raise NothingToDo("another run has this attempt of the task")
