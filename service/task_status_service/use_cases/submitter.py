"""The use cases that create a task: submit, and retry; once for each idempotency key."""

import contextlib
import time
from collections.abc import Callable
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
    NotReady,
    StoreFull,
    TaskNotDone,
    TaskNotFound,
    TaskNotRepeatable,
    Unavailable,
    UnknownQueue,
    UnknownTaskType,
)
from task_status_service.status import TaskStatus
from task_status_service.task_types.arguments import check_arguments
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases import answers
from task_status_service.use_cases.submission import (
    Call,
    CallStore,
    Claim,
    Claimed,
    Interrupted,
    MessageBroker,
    Recorded,
    Submission,
)
from task_status_service.use_cases.tracker import Tracker

#: label of a task that repeats another task: the id of that task
RETRY_OF: Final = "retry_of"

#: if a failed send took longer than this, its failure is not recorded: the response is due within 2 s
RECORD_FAILURE_WITHIN_SECONDS: Final = 1.1

#: reasons for which a submission or a retry is denied
_DENIALS: Final = (
    UnknownTaskType,
    NotReady,
    UnknownQueue,
    InvalidArguments,
    TaskNotFound,
    TaskNotDone,
    TaskNotRepeatable,
)


class Accepted(msgspec.Struct, frozen=True):
    """The outcome of a submission."""

    status: TaskStatus
    #: whether the status is the answer to an earlier request with the same key
    is_replayed: bool = False


class SubmissionStore(CallStore, Protocol):
    """A store of submissions.

    Raises `StoreUnavailable`; for writes `StoreFull`; for new tasks `TooManyQueued` and `QuotaExceeded`.
    """

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        """Claim the key, record the task and store its call: all or nothing, in one round trip.

        Nothing is written unless the outcome is `Recorded`. The claim is leased to the task id of the note.
        """
        ...

    def claimed(self, claim: Claim) -> Claimed | None:
        """Read the claim of a key; None if it is not claimed."""
        ...

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        """End a lease; store the answer, or let the next request resume if it is None.

        Changes nothing if the lease has another holder.
        """
        ...


class Submitter:
    """The submission of tasks: check, claim and record, send; in this order, so that a crash loses no accepted task."""

    def __init__(
        self,
        tracker: Tracker,
        store: SubmissionStore,
        broker: MessageBroker,
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
        """Accept a task; the caller owns it.

        The task is recorded before it is sent, so a client can read it as soon as it receives the id. The same claim
        returns the same answer from then on. If the server dies, or the send fails, the lease of the claim ends, and
        the same request sends the same id.

        Raises:
            UnknownTaskType: the task type is not announced, or the settings do not allow it.
            NotReady: no worker has announced a task type yet.
            UnknownQueue: the client names a queue that no live worker consumes.
            InvalidArguments: the arguments do not match the task type.
            IdempotencyConflict: the key is claimed by a different request.
            IdempotencyInFlight: another request with this key is in progress.
            TooManyQueued: the queue limit of the owner is reached.
            QuotaExceeded: the limit of stored bytes of the owner is reached.
            StoreUnavailable: the task is not recorded and not sent.
            StoreFull: the task is not sent, and may be recorded.
            BrokerUnavailable: the task is recorded; it may or may not have been sent.
        """
        return self._once(claim, caller, lambda: submission, submission)

    def retry(self, task_id: str, caller: Caller, claim: Claim | None = None) -> Accepted:
        """Submit the call of a task that is done as a new task, labelled with the id of the old one.

        Raises:
            TaskNotFound: the task is unknown or has another owner.
            TaskNotDone: the task may still succeed.
            TaskNotRepeatable: the call is not stored.
            TaskStatusError: any other error that `submit` raises.
        """
        return self._once(claim, caller, lambda: self._again(task_id, caller))

    def _again(self, task_id: str, caller: Caller) -> Submission:
        status = self._tracker.status(task_id, caller).status
        if not status.done:
            raise TaskNotDone
        call = self._store.call(task_id)
        if call is None:
            raise TaskNotRepeatable
        return Submission(call=call, labels={**status.labels, RETRY_OF: task_id})

    def _once(
        self,
        claim: Claim | None,
        caller: Caller,
        create: Callable[[], Submission],
        request: Submission | None = None,
    ) -> Accepted:
        """Accept a submission, unless its claim was accepted before.

        `request` is None if a repeated request does not contain the submission.
        """
        began = self._clock()
        try:
            submission = create()
            submitted = self._checked(submission, caller)
        except _DENIALS:
            # An accepted claim keeps its answer, even if the same request would be denied now.
            claimed = self._store.claimed(claim) if claim else None
            if claimed is None or claimed.answer is None:
                raise
            return self._replayed(claimed, request, caller)
        found = self._store.submit(submitted, submission.call, claim)
        if isinstance(found, Claimed):
            return self._replayed(found, request, caller)
        lease = _Lease(claim, submitted.task_id, began, request)
        if isinstance(found, Recorded):
            self._send(submitted, submission, lease)
            status = answers.new_status(
                submitted.task_id,
                name=submitted.name,
                queue=submitted.queue,
                labels=submission.labels,
                submitted_at=found.at,
                scheduled_for=submitted.scheduled_for,
                expires_at=submitted.expires_at,
            )
        else:
            status = self._resume(msgspec.structs.replace(submitted, task_id=found.task_id), submission, lease, caller)
        # The task is sent. If the store is unavailable now, the lease expires, and the next request resumes it.
        with contextlib.suppress(Unavailable):
            self._end(lease, status)
        return Accepted(status)

    def _checked(self, submission: Submission, caller: Caller) -> Note:
        """Check a submission, and return its note for the record."""
        call = submission.call
        task_type = self._catalog.find(call.name)
        if call.queue is not None and call.queue != task_type.queue:
            self._catalog.check_queue(call.queue)
        check_arguments(task_type, call.args, call.kwargs)
        return Note(
            task_id=self._new_id(),
            fact=Fact.SUBMITTED,
            name=call.name,
            owner=caller.owner,
            queue=call.queue or task_type.queue or self._default_queue,
            labels=submission.labels,
            scheduled_for=submission.scheduled_for,
            expires_at=submission.expires_at,
        )

    def _resume(self, submitted: Note, submission: Submission, lease: "_Lease", caller: Caller) -> TaskStatus:
        """Resume an earlier request, whose record may have expired and whose message may have been sent.

        The recorded times are kept. The message is sent, possibly a second time, unless a worker has received the task:
        the worker kit discards duplicate deliveries.
        """
        self._store.submit(msgspec.structs.replace(submitted, send_unconfirmed=False), submission.call, None)
        status = self._tracker.status(submitted.task_id, caller).status
        if status.celery_state == answers.PENDING and status.received_at is None:
            times = {"scheduled_for": status.scheduled_for, "expires_at": status.expires_at}
            self._send(submitted, msgspec.structs.replace(submission, **times), lease)
        return status

    def _send(self, submitted: Note, submission: Submission, lease: "_Lease") -> None:
        try:
            self._broker.send(submitted.task_id, submission, queue=submitted.queue or self._default_queue)
        except (BrokerUnavailable, StoreFull):
            if self._clock() - lease.began > RECORD_FAILURE_WITHIN_SECONDS:
                # Recording the failure would delay the answer further; the lease expires.
                raise
            unconfirmed = msgspec.structs.replace(submitted, send_unconfirmed=True)
            # The client receives the broker's error, even if the store is also unavailable.
            with contextlib.suppress(Unavailable):
                self._store.submit(unconfirmed, submission.call, None)
            # A full store still ends a lease.
            with contextlib.suppress(Unavailable):
                self._end(lease, None)
            raise

    def _replayed(self, claimed: Claimed, request: Submission | None, caller: Caller) -> Accepted:
        if not claimed.is_same:
            raise IdempotencyConflict
        if claimed.answer is None:
            raise IdempotencyInFlight
        try:
            status = answers.unpacked(claimed.answer, claimed.task_id, request)
        except msgspec.MsgspecError:
            # Another version, or another program, has written it.
            status = self._tracker.status(claimed.task_id, caller).status
        return Accepted(status, is_replayed=True)

    def _end(self, lease: "_Lease", status: TaskStatus | None) -> None:
        if lease.claim is not None:
            # Public visibility: another key of the same owner may repeat the request with fewer scopes.
            answer = answers.packed(self._tracker.public(status), lease.request) if status else None
            self._store.end_lease(lease.claim, lease.holder, answer)


class _Lease(msgspec.Struct, frozen=True):
    """The lease of a request in progress."""

    #: None without an idempotency key
    claim: Claim | None
    #: id of the task that the request submits
    holder: str
    #: start of the request, in seconds by the submitter's clock
    began: float
    #: None if a repeated request does not contain the submission
    request: Submission | None
