"""The gate: a run asks its record whether it may start, and ends where the task's own code would have begun if not."""

import msgspec
from celery.exceptions import Ignore

from task_status_worker.execution import Run
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Denial
from task_status_worker.recorder import Recorder


class NothingToDo(Ignore):
    """The task has ended, or another run has this attempt: the message is acknowledged, and nothing is stored."""


class DeliveryLimitReached(Exception):
    """The task's message was delivered again and again, and no run has lived to say how it ended."""


def ask(recorder: Recorder, run: Run, *, insists: bool = False) -> None:
    """Ask the record whether a run may start; the question stays open if Redis does not answer."""
    if run.question is None:
        return
    noted = recorder.ask(run.question, insists=insists)
    if noted is not None:
        run.question, run.denial = None, noted.denial


def enter(recorder: Recorder, run: Run) -> None:
    """Let a run begin, unless its record refuses it. Without an answer it begins, and the record is told later.

    Raises:
        TaskCanceled: a cancel is recorded; the task ends as REVOKED
        DeliveryLimitReached: the task ends as FAILURE
        NothingToDo: somebody else says, or has said, how it ends
    """
    # Since the first time Celery has stored STARTED, for which it waits for as long as Redis is away.
    ask(recorder, run, insists=True)
    if run.question is not None:
        recorder.keep(msgspec.structs.replace(run.question, start_request=None))
        run.question = None
    match run.denial:
        case None:
            return
        case Denial.CANCELED:
            raise TaskCanceled("a cancel was asked for before it started")
        case Denial.DELIVERY_LIMIT:
            raise DeliveryLimitReached(
                "No run of the task has ended: each time the worker was lost, and its message was delivered again."
            )
        case Denial.ENDED:
            raise NothingToDo("the task has ended")
        case Denial.DUPLICATE:
            raise NothingToDo("another run has this attempt of the task")
