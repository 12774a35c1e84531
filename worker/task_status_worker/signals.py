"""Turns Celery signals into facts; the table is at the end.

The process that executes a task gets task_prerun, task_retry and task_postrun, which Celery sends after it has stored
the outcome (celery/app/trace.py, build_tracer). The worker's main process gets task_revoked, and task_failure if the
executing process was lost or killed by a hard time limit. A task_postrun with state None means that the outcome could
not be stored, and task_failure follows, or that the task ended with SystemExit.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from billiard import current_process
from celery import signals, states
from celery.app.task import Context
from celery.exceptions import Reject

from task_status_worker.execution import Execution, execution_of, start_execution
from task_status_worker.failure import failure_in_meta, failure_of
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Denial, Fact, Note, RecordedFailure, StartRequest
from task_status_worker.registry import all_kits, kit_of, kit_that_records
from task_status_worker.start_check import ask

#: attribute of a request in the main process, set once its failure is noted
_NOTED: Final = "task_status_noted"


def _note(app: Any, request: Any, fact: Fact, **fields: Any) -> None:
    """Note a fact about the attempt of a request (celery.app.task.Context)."""
    kit = kit_that_records(app, request.get("task"))
    if kit is not None:
        kit.recorder.note(_note_of(request, fact, **fields))


def _note_of(request: Any, fact: Fact, **fields: Any) -> Note:
    execution = execution_of(request)
    return Note(
        task_id=str(request.id),
        fact=fact,
        generation=request.replaced_task_nesting or 0,
        attempt=request.retries or 0,
        run=execution.token if execution is not None else None,
        **fields,
    )


def _description(request: Any) -> dict[str, Any]:
    """Return the fields of a note that describe the task of a request."""
    return {
        "name": request.get("task"),
        "queue": (request.delivery_info or {}).get("routing_key"),
        "root_id": _id_text(request.root_id),
        # A task that retries becomes its own parent (celery/app/base.py, send_task).
        "parent_id": _id_text(request.parent_id) if request.parent_id != request.id else None,
        "group_id": _id_text(request.group),
    }


def _id_text(task_id: Any) -> str | None:
    """Return an id as text: an app may send a UUID, which kombu restores in the worker."""
    return None if task_id is None else str(task_id)


# In the main process.


def on_received(sender: Any, request: Any, **_: Any) -> None:
    """Note that a worker holds the message; `request` is a celery.worker.request.Request."""
    context = Context(request.request_dict)
    if context.retries:
        # RETRYING was noted when the previous attempt ended, and holds until this one starts.
        return
    _note(
        sender.app,
        context,
        Fact.RECEIVED,
        scheduled_for=request.eta,
        expires_at=request.expires,
        **_description(context),
    )


def on_revoked(sender: Any, request: Any, expired: bool, **_: Any) -> None:
    """Note that a task was canceled, or expired before it started."""
    _note(sender.app, request, Fact.REVOKED, outcome="EXPIRED" if expired else "REVOKED", **_description(request))


def on_failure(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Note the failure of an execution whose process was lost, or killed by a hard time limit."""
    request = sender.request
    if execution_of(request) is not None or request.id != task_id:
        return  # this is the executing process: task_postrun follows
    if isinstance(exception, Reject):
        return  # noted by task_postrun; the main process repeats the signal since Celery 5.7 (celery#10369)
    if vars(request).get(_NOTED):
        return  # Celery sends the signal twice for a hard time limit: for the limit, and for the lost process
    setattr(request, _NOTED, True)
    failure = failure_of(exception, with_traceback=False)
    _note(sender.app, request, Fact.FINISHED, outcome=states.FAILURE, failure=failure, result_stored=True)


def on_unknown(sender: Any, message: Any, name: str, id: str, **_: Any) -> None:  # noqa: A002  # Celery's name
    """Note that this worker knows no task of that name; the task has ended, because its message is dropped."""
    request = Context(message.headers, id=id, task=name)
    failure = RecordedFailure(type="NotRegistered", module="celery.exceptions", message=name)
    _note(sender.app, request, Fact.FINISHED, outcome=states.FAILURE, failure=failure, **_description(request))


def on_invalid(sender: Any, message: Any, exc: Exception | None, **_: Any) -> None:
    """Note that the worker dropped an invalid message; Celery stores nothing for it."""
    if exc is None or "id" not in message.headers or "task" not in message.headers:
        return
    if message.headers["task"] not in sender.app.tasks:
        return  # task_unknown follows
    request = Context(message.headers)
    _note(sender.app, request, Fact.REJECTED, failure=failure_of(exc, with_traceback=False), **_description(request))


# In the process that executes the task.


def on_prerun(sender: Any, task: Any, **_: Any) -> None:
    """Request the start of an execution and note it; `StatusTask.before_start` ends a denied one."""
    request, kit = task.request, kit_of(sender.app)
    if request.is_eager or kit is None:
        return
    execution = start_execution(request)
    if kit_that_records(sender.app, task.name) is None:
        return
    redelivered = (request.delivery_info or {}).get("redelivered")
    execution.start_note = _note_of(
        request,
        Fact.STARTED,
        start_request=StartRequest(redelivered=bool(redelivered), delivery_limit=kit.delivery_limit),
        worker=request.hostname,
        instance=kit.instance,
        **_description(request),
    )
    ask(kit.recorder, execution)


def on_retry(sender: Any, request: Any, reason: Any = None, **_: Any) -> None:
    """Note that an attempt ended and another one follows, unless the worker was shut down."""
    if reason is None:
        _note_cut_off(sender, request)
        return
    execution = execution_of(request)
    # Without `exc=` Celery stores no exception, even if the task retried because of one.
    cause = reason.exc or reason.__cause__ or reason.__context__
    _note(
        sender.app,
        request,
        Fact.RETRYING,
        next_retry_at=_time_of(reason.when),
        failure=failure_of(cause) if cause is not None else None,
        progress=execution.custom_meta if execution is not None else None,
        call_changed=_changes_call(request, reason.sig) or None,
    )


def _changes_call(request: Any, retried: Any) -> bool:
    """Return whether a retry has other arguments than its task; `retried` is the signature that is sent, or None.

    Compares by identity: the arguments of an app may compare slowly, or not at all.
    """
    if retried is None:
        return False
    args, kwargs = request.args or (), request.kwargs or {}
    return (
        len(retried.args) != len(args)
        or retried.kwargs.keys() != kwargs.keys()
        or any(new is not old for new, old in zip(retried.args, args, strict=True))
        or any(new is not kwargs[name] for name, new in retried.kwargs.items())
    )


def _note_cut_off(task: Any, request: Any) -> None:
    """Note the end of an execution that the main process killed because it shuts down or lost its broker.

    Celery signals a retry for both (celery/worker/request.py, _announce_cancelled). An unacknowledged message returns
    to its queue; an acknowledged one is lost.
    """
    if task.acks_late:
        _note(task.app, request, Fact.REQUEUED)
        return
    message = (
        "The worker shut down while it executed the task. No worker will execute it again: submit it again if needed."
    )
    failure = RecordedFailure(type="WorkerLostError", module="billiard.exceptions", message=message)
    _note(task.app, request, Fact.FINISHED, outcome=states.FAILURE, failure=failure)


def _time_of(when: Any) -> datetime | None:
    """Return the time of a Retry, whose `when` is a time or a number of seconds from now."""
    if isinstance(when, datetime):
        return when
    return datetime.now(UTC) + timedelta(seconds=when) if when is not None else None


def on_postrun(sender: Any, task: Any, retval: Any, state: str | None, **_: Any) -> None:
    """Note how an execution ended."""
    execution = execution_of(task.request)
    if state is None:
        state, retval = _left_by_exit(task)
    ending = _ENDINGS.get(state or "")
    if execution is None or ending is None or execution.replaced or execution.denial in _NOT_OURS_TO_END:
        return
    fact, fields = ending(task, execution, retval)
    _note(sender.app, task.request, fact, progress=execution.custom_meta, **fields)


def _left_by_exit(task: Any) -> tuple[str | None, BaseException | None]:
    """Return the end of a task that called `sys.exit()`, if no other signal follows.

    With a pool of processes the main process sees the process exit and sends task_failure. The other pools drop the
    task (celery/concurrency/base.py, apply_target), and also its message unless it is acknowledged late.
    """
    error = sys.exc_info()[1]  # Celery sends the signal from a `finally`
    if isinstance(error, SystemExit) and current_process().name == "MainProcess" and not task.acks_late:
        return states.FAILURE, error
    return None, None


_Ending = tuple[Fact, dict[str, Any]]


def _succeeded(task: Any, _execution: Execution, _retval: Any) -> _Ending:
    return Fact.FINISHED, {"outcome": states.SUCCESS, "result_stored": _stores_result(task)}


def _failed(task: Any, _execution: Execution, error: BaseException) -> _Ending:
    return Fact.FINISHED, {
        "outcome": states.FAILURE,
        "failure": failure_of(error),
        "result_stored": _stores_result(task),
    }


def _ignored(task: Any, execution: Execution, error: BaseException) -> _Ending:
    if isinstance(error, TaskCanceled):
        # Celery stores nothing after Ignore, but a chord of which this task is a part must see its end.
        task.backend.mark_as_revoked(
            execution.task_id, reason="canceled", request=task.request, store_result=_stores_result(task)
        )
        return Fact.REVOKED, {"outcome": states.REVOKED}
    failure = failure_in_meta(execution.stored_meta) if execution.stored_state in states.EXCEPTION_STATES else None
    return Fact.IGNORED, {"outcome": execution.stored_state, "failure": failure}


def _rejected(task: Any, _execution: Execution, error: Any) -> _Ending:
    # Celery requeues no message that was acknowledged before the start (celery/worker/request.py, reject).
    if error.requeue and task.acks_late:
        return Fact.REQUEUED, {}
    reason = RecordedFailure(type="Reject", module="celery.exceptions", message=str(error.reason))
    return Fact.REJECTED, {"failure": reason}


def _stores_result(task: Any) -> bool:
    """Return whether Celery stores the return value: the message may override the setting of the task."""
    asked = vars(task.request).get("ignore_result")
    return not (task.ignore_result if asked is None else asked)


#: by the state of task_postrun; task_retry has noted RETRY
_ENDINGS: Final[dict[str, Callable[[Any, Execution, Any], _Ending]]] = {
    states.SUCCESS: _succeeded,
    states.FAILURE: _failed,
    states.IGNORED: _ignored,
    states.REJECTED: _rejected,
}


#: denials after which this execution does not record the end of the task: another one does or has done so
_NOT_OURS_TO_END: Final = frozenset({Denial.ENDED, Denial.DUPLICATE})


def on_process_end(**_: Any) -> None:
    """Write the buffered notes, which would be lost with the process."""
    for kit in all_kits():
        kit.recorder.flush()


_RECEIVERS: Final = (
    # signal                        receiver          notes
    (signals.task_received, on_received),  # RECEIVED
    (signals.task_prerun, on_prerun),  # STARTED
    (signals.task_retry, on_retry),  # RETRYING; REQUEUED or FINISHED when the worker shuts down
    (signals.task_postrun, on_postrun),  # FINISHED, IGNORED, REVOKED, REJECTED, REQUEUED
    (signals.task_revoked, on_revoked),  # REVOKED
    (signals.task_failure, on_failure),  # FINISHED, when the process that ran it is gone
    (signals.task_unknown, on_unknown),  # FINISHED
    (signals.task_rejected, on_invalid),  # REJECTED
    (signals.worker_process_shutdown, on_process_end),
    (signals.worker_shutdown, on_process_end),
)


def connect() -> None:
    """Connect every receiver; a second call changes nothing. Receivers ignore apps without a kit."""
    for signal, receiver in _RECEIVERS:
        signal.connect(receiver, weak=False)
