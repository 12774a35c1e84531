"""The use cases that make a task: submit one, and retry one that is done. Each at most once for one key of a client."""

import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol
from uuid import uuid4

import msgspec
from task_status_worker.record.model import Fact, Note

from task_status_service.access.caller import Caller
from task_status_service.errors import (
    BrokerUnavailable,
    IdempotencyConflict,
    IdempotencyInFlight,
    InvalidArguments,
    TaskNotDone,
    TaskNotFound,
    TaskNotRepeatable,
    Unavailable,
    UnknownTaskType,
)
from task_status_service.status import TaskState, TaskStatus
from task_status_service.task_types.arguments import check_arguments
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submission import Call, Claim, Claimed, Interrupted, Recorded, Submission
from task_status_service.use_cases.tracker import Tracker

#: label of a task that repeats another one: the other's id
RETRY_OF: Final = "retry_of"

#: whom a send that failed kept waiting for so long does not wait for a note of it too: 2 s are promised
PATIENCE_SECONDS: Final = 1.1

#: Celery's word for a task of which no worker has said anything
_UNSEEN: Final = "PENDING"
#: what a submission, or a retry, may be refused for
_REFUSALS: Final = (UnknownTaskType, InvalidArguments, TaskNotFound, TaskNotDone, TaskNotRepeatable)


class Accepted(msgspec.Struct, frozen=True):
    """Say what became of a submission."""

    status: TaskStatus
    #: it was accepted before, and the status is what was answered then
    is_replayed: bool = False


class Store(Protocol):
    """Keeps submissions. Raises `StoreUnavailable`, for writes `StoreFull`, and `TooManyQueued` for what is new."""

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        """Claim the key, record the task and keep its call, all or nothing, in one round trip.

        Only what is `Recorded` was written. The claim is leased to the task id of the note.
        """
        ...

    def claimed(self, claim: Claim) -> Claimed | None:
        """Read what is kept of a key, if anything."""
        ...

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        """End a lease: for good with the answer that was given, without one so that the next request may go on.

        Changes nothing if somebody else holds it.
        """
        ...

    def call(self, task_id: str) -> Call | None:
        """Read what a worker was asked to run."""
        ...


class Broker(Protocol):
    """Sends messages to the workers. Raises `BrokerUnavailable`."""

    def send(self, task_id: str, submission: Submission, *, queue: str) -> None:
        """Send one task, once: after an error it may or may not have been sent."""
        ...


class Submitter:
    """Accept tasks: check, claim and record, send; in this order, so that a server may die between any two steps."""

    def __init__(
        self,
        tracker: Tracker,
        store: Store,
        broker: Broker,
        catalog: Catalog,
        *,
        default_queue: str,
        new_id: Callable[[], str] = lambda: str(uuid4()),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = tracker
        self._store = store
        self._broker = broker
        self._catalog = catalog
        self._default_queue = default_queue
        self._new_id = new_id
        self._clock = clock

    def submit(self, submission: Submission, caller: Caller, claim: Claim | None = None) -> Accepted:
        """Accept a task, which is its caller's from then on.

        It is recorded before it is sent: whoever asks for the id that the answer carries finds it. With a claim, the
        same claim gives the same answer from then on; a server that dies, or a send that fails, leaves a lease that
        ends, and then the same request sends the same id.

        Raises:
            UnknownTaskType: nobody may submit a task of this name.
            InvalidArguments: the arguments do not fit.
            IdempotencyConflict: the key was claimed for something else.
            IdempotencyInFlight: another request with this key is at it.
            TooManyQueued: its owner has as many tasks queued as it may have.
            StoreUnavailable: it was not recorded and not sent.
            BrokerUnavailable: it was recorded; whether it was sent is not known.
        """
        return self._once(claim, caller, lambda: submission)

    def retry(self, task_id: str, caller: Caller, claim: Claim | None = None) -> Accepted:
        """Submit a task that is done once more: a new one, with a label that names this one.

        Raises:
            TaskNotFound: there is none to be repeated.
            TaskNotDone: it may still succeed by itself.
            TaskNotRepeatable: what it was called with is not kept.
            TaskStatusError: any other that `submit` raises.
        """
        return self._once(claim, caller, lambda: self._again(task_id, caller))

    def _again(self, task_id: str, caller: Caller) -> Submission:
        status = self._tracker.status(task_id, caller).status
        if not status.done:
            raise TaskNotDone
        call = self._store.call(task_id)
        if call is None:
            raise TaskNotRepeatable
        return Submission(
            name=call.name,
            args=call.args,
            kwargs=call.kwargs,
            queue=call.queue,
            priority=call.priority,
            labels={**status.labels, RETRY_OF: task_id},
        )

    def _once(self, claim: Claim | None, caller: Caller, ask: Callable[[], Submission]) -> Accepted:
        """Accept what is asked for, unless it was accepted before."""
        began = self._clock()
        try:
            submission = ask()
            submitted = self._checked(submission, caller)
        except _REFUSALS:
            # What was accepted before stays so, though it would not be accepted today.
            claimed = self._store.claimed(claim) if claim else None
            if claimed is None or claimed.answer is None:
                raise
            return _replayed(claimed)
        found = self._store.submit(submitted, _call_of(submission), claim)
        if isinstance(found, Claimed):
            return _replayed(found)
        lease = _Lease(claim, submitted.task_id, began)
        if isinstance(found, Recorded):
            self._send(submitted, submission, lease)
            status = _queued(submitted, found.at)
        else:
            status = self._resume(msgspec.structs.replace(submitted, task_id=found.task_id), submission, lease, caller)
        # The task is sent. A lease that cannot be ended ends by itself, and the next request finds out.
        with contextlib.suppress(Unavailable):
            self._end(lease, status)
        return Accepted(status)

    def _checked(self, submission: Submission, caller: Caller) -> Note:
        """Check a submission, and give what is to be recorded of it."""
        task_type = self._catalog.find(submission.name)
        check_arguments(task_type, submission.args, submission.kwargs)
        return Note(
            task_id=self._new_id(),
            fact=Fact.SUBMITTED,
            name=submission.name,
            owner=caller.owner,
            queue=submission.queue or task_type.queue or self._default_queue,
            labels=submission.labels,
            scheduled_for=submission.scheduled_for,
            expires_at=submission.expires_at,
        )

    def _resume(self, submitted: Note, submission: Submission, lease: "_Lease", caller: Caller) -> TaskStatus:
        """Go on where an earlier request has ended: what it recorded may have been sent or not, and may have expired.

        Its times hold. It is sent, maybe once more, unless a worker has seen it: the worker kit runs an id once.
        """
        self._store.submit(msgspec.structs.replace(submitted, send_unconfirmed=False), _call_of(submission), None)
        status = self._tracker.status(submitted.task_id, caller).status
        if status.celery_state == _UNSEEN and status.received_at is None:
            times = {"scheduled_for": status.scheduled_for, "expires_at": status.expires_at}
            self._send(submitted, msgspec.structs.replace(submission, **times), lease)
        return status

    def _send(self, submitted: Note, submission: Submission, lease: "_Lease") -> None:
        try:
            self._broker.send(submitted.task_id, submission, queue=submitted.queue or self._default_queue)
        except BrokerUnavailable:
            if self._clock() - lease.began > PATIENCE_SECONDS:
                # The client has waited long enough. The lease ends by itself; the record says less than it could.
                raise
            unconfirmed = msgspec.structs.replace(submitted, send_unconfirmed=True)
            # The client learns of the send. That the store went away too changes nothing; it is waited for once.
            with contextlib.suppress(Unavailable):
                self._store.submit(unconfirmed, _call_of(submission), None)
                self._end(lease, None)
            raise

    def _end(self, lease: "_Lease", status: TaskStatus | None) -> None:
        if lease.claim is not None:
            # Public: another key of the same owner may repeat the request, and may have fewer scopes.
            answer = msgspec.json.encode(self._tracker.public(status)) if status else None
            self._store.end_lease(lease.claim, lease.holder, answer)


class _Lease(msgspec.Struct, frozen=True):
    """What one request holds while it is at it."""

    #: None: there was no key to claim
    claim: Claim | None
    holder: str
    #: when its request came, in seconds by the submitter's clock
    began: float


def _replayed(claimed: Claimed) -> Accepted:
    if not claimed.is_same:
        raise IdempotencyConflict
    if claimed.answer is None:
        raise IdempotencyInFlight
    return Accepted(msgspec.json.decode(claimed.answer, type=TaskStatus), is_replayed=True)


def _call_of(submission: Submission) -> Call:
    return Call(
        name=submission.name,
        args=submission.args,
        kwargs=submission.kwargs,
        queue=submission.queue,
        priority=submission.priority,
    )


def _queued(submitted: Note, submitted_at: datetime) -> TaskStatus:
    """Give the status that a read of what has just been written would give, without reading it."""
    return TaskStatus(
        id=submitted.task_id,
        name=submitted.name,
        state=TaskState.QUEUED,
        done=False,
        celery_state=_UNSEEN,
        queue=submitted.queue,
        labels=dict(submitted.labels or {}),
        submitted_at=submitted_at,
        updated_at=submitted_at,
        scheduled_for=submitted.scheduled_for,
        expires_at=submitted.expires_at,
    )
