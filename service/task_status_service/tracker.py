"""The use cases, in their order: submit, read, list. Knows no HTTP, Redis, Celery; declares what it calls."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import uuid4

import msgspec
from task_status_worker.record import Fact, Note

from task_status_service.arguments import check_arguments
from task_status_service.catalog import Catalog
from task_status_service.durability import StoreReport, VolatileStore
from task_status_service.errors import (
    BrokerUnavailable,
    Fault,
    NoResult,
    StoreVolatile,
    TaskExpired,
    TaskNotDone,
    TaskNotFound,
    Unavailable,
)
from task_status_service.listing import MAX_LISTED_SIZE, Filter, IndexPage, Position
from task_status_service.lost import LostTasks
from task_status_service.status import (
    MAX_INLINE_SIZE,
    MAX_RESULT_SIZE,
    FinalStates,
    Snapshot,
    TaskState,
    TaskStatus,
    decode,
)
from task_status_service.version import VERSION

_REFUSED: Final = "`TASK_STATUS_VOLATILE_STORE=refuse` does not allow that; `warn` and `accept` would."


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: one task, to be run once. Times are aware."""

    name: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: not before this time
    scheduled_for: datetime | None = None
    #: not after this time
    expires_at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    labels: dict[str, str] = {}


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Hold some tasks of a list."""

    items: list[TaskStatus]
    #: where the next page begins; None if this is the last
    next: Position | None = None
    #: ids that were asked for of which nothing is stored
    missing: list[str] = []


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Say which parts answer; each is None when it does, else what is wrong with it."""

    #: Redis, where records and results are
    store: str | None = None
    broker: str | None = None
    #: without one that was seen there is nothing that may be submitted, and nobody to run it
    worker: str | None = None
    #: names the time since which the store has kept its data, if that is known
    store_epoch: str | None = None
    #: what an operator should know, though the service works
    warnings: Sequence[str] = ()

    @property
    def faults(self) -> list[Fault]:
        """List what is wrong."""
        parts = {"store": self.store, "broker": self.broker, "worker": self.worker}
        return [Fault(f"{name}: {wrong}") for name, wrong in parts.items() if wrong]


class Store(Protocol):
    """Keeps records and reads what Celery stored. Raises `StoreUnavailable`, and for writes `StoreFull`."""

    def read(self, task_id: str) -> Snapshot:
        """Read all that is stored about one task, in one round trip."""
        ...

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read the same about several tasks, in their order and in one round trip; `known` is not looked up.

        What is huge is read alone, when its turn comes.
        """
        ...

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Read the ids of one page of the index, newest first, in one round trip of a bounded cost."""
        ...

    def note(self, note: Note) -> datetime:
        """Write one fact, in one round trip; give its time."""
        ...

    def settle(self, note: Note, found: Snapshot, *, silent_seconds: float) -> bool:
        """Write a note, in one round trip, unless something has happened since the task was found; false if so."""
        ...

    def report(self) -> StoreReport:
        """Find out how the store is."""
        ...


class Broker(Protocol):
    """Sends messages to the workers. Raises `BrokerUnavailable`."""

    def send(self, task_id: str, submission: Submission, *, queue: str) -> None:
        """Send one task, once: after an error it may or may not have been sent."""
        ...

    def check(self) -> None:
        """Find out whether the broker answers."""
        ...


class Tracker:
    """Submit tasks and tell what became of them."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        catalog: Catalog,
        *,
        final_states: FinalStates,
        default_queue: str,
        lost_final_seconds: float | None = None,
        volatile_store: VolatileStore = VolatileStore.WARN,
        new_id: Callable[[], str] = lambda: str(uuid4()),
    ) -> None:
        """Take the parts. A task that is lost for `lost_final_seconds` has failed; None: it may still come back."""
        self._store = store
        self._broker = broker
        self._catalog = catalog
        self._final_states = final_states
        self._default_queue = default_queue
        self._volatile_store = volatile_store
        self._new_id = new_id
        self._lost = LostTasks(store, after_seconds=lost_final_seconds, final_states=final_states)
        # What a status is decoded by besides what was read: the settings, and this version of the code.
        self._version_salt = hashlib.blake2b(repr((VERSION, sorted(final_states.items()))).encode(), digest_size=16)

    def submit(self, submission: Submission) -> TaskStatus:
        """Accept a task: check it, record it, send it.

        It is recorded first: whoever asks for the id that the answer carries finds it.

        Raises:
            UnknownTaskType: nobody may submit a task of this name.
            InvalidArguments: the arguments do not fit.
            StoreUnavailable: it was not recorded and not sent.
            BrokerUnavailable: it was recorded; whether it was sent is not known.
        """
        task_type = self._catalog.find(submission.name)
        check_arguments(task_type, submission.args, submission.kwargs)
        task_id = self._new_id()
        submitted = Note(
            task_id=task_id,
            fact=Fact.SUBMITTED,
            name=submission.name,
            queue=submission.queue or task_type.queue or self._default_queue,
            labels=submission.labels,
            scheduled_for=submission.scheduled_for,
            expires_at=submission.expires_at,
        )
        submitted_at = self._store.note(submitted)
        self._send(submitted, submission)
        return _queued(submitted, submitted_at)

    def _send(self, submitted: Note, submission: Submission) -> None:
        try:
            self._broker.send(submitted.task_id, submission, queue=submitted.queue or self._default_queue)
        except BrokerUnavailable:
            unconfirmed = msgspec.structs.replace(submitted, send_unconfirmed=True)
            try:
                self._store.note(unconfirmed)
            except Unavailable as error:
                # The client learns of the send; that the store went away too changes nothing for it.
                raise BrokerUnavailable from error
            raise

    def read(self, task_id: str) -> Snapshot:
        """Read what is stored about a task, in one round trip to the store; more only if it is settled as lost.

        Raises:
            TaskNotFound: nothing was ever heard of it.
            TaskExpired: it was known once.
            StoreUnavailable: not now.
        """
        snapshot = self._lost.settle(self._store.read(task_id))
        if snapshot.is_empty:
            raise TaskExpired if snapshot.known else TaskNotFound
        return snapshot

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read the same about some tasks, in their order, in one round trip; empty where there is nothing."""
        return map(self._lost.settle, self._store.read_many(task_ids))

    def version(self, snapshot: Snapshot) -> str:
        """Name what was read: another name whenever the status may be another one. Decodes nothing."""
        digest = self._version_salt.copy()
        # Sorted: Redis gives the fields of a large hash in an order of its own. As msgpack every length is told.
        read = (sorted(snapshot.record.items()), snapshot.wrong_type, snapshot.meta, snapshot.liveness)
        digest.update(msgspec.msgpack.encode(read))
        return digest.hexdigest()

    def status(self, snapshot: Snapshot) -> TaskStatus:
        """Decode what was read."""
        return self._decode(snapshot, MAX_INLINE_SIZE)

    def result(self, snapshot: Snapshot) -> Any:
        """Give the result of a task that has succeeded, of any size that is read.

        Raises:
            TaskNotDone: it has none yet.
            NoResult: it has none, because it did not succeed, or because nobody stores it.
            TaskExpired: it has none any more.
        """
        status = self._decode(snapshot, MAX_RESULT_SIZE)
        codes = {diagnostic.code for diagnostic in status.diagnostics}
        if not status.done:
            raise TaskNotDone
        if "result_expired" in codes:
            raise TaskExpired("The task has succeeded; its result has expired since.")
        if not status.successful:
            raise NoResult
        if "result_too_large" in codes:
            raise NoResult("The result is larger than this service reads.")
        return status.result

    def statuses(self, task_ids: Sequence[str]) -> TaskPage:
        """Tell the statuses of these tasks, in this order, in one round trip; one that is asked for twice once.

        Raises:
            StoreUnavailable: not now.
        """
        ids = list(dict.fromkeys(task_ids))
        items = self._statuses(ids)
        found = {status.id for status in items}
        return TaskPage(items=items, missing=[task_id for task_id in ids if task_id not in found])

    def page(self, wanted: Filter, *, limit: int, after: Position | None = None) -> TaskPage:
        """List tasks, newest first, in two round trips: the index, and what it names.

        The index knows a task by what its record alone says; the status has the last word, for Celery's meta may know
        better. So a task whose status is in none of the states that were asked for, or of another name, is left out,
        as is one that has expired since: a page may hold fewer than `limit`, or none, and still have a next one. A task
        without a record, of a worker without the kit that nobody submitted here, is in no list.

        Raises:
            StoreUnavailable: not now.
        """
        indexed = self._store.page(self._as_indexed(wanted), limit=limit, after=after)
        items = self._statuses(indexed.task_ids)
        return TaskPage(items=[status for status in items if _still_fits(status, wanted)], next=indexed.next)

    def _as_indexed(self, wanted: Filter) -> Filter:
        """Add `finished` where a custom final state may mean a state that is asked for: the index knows no settings."""
        means_one = not set(wanted.states).isdisjoint(self._final_states.values())
        if not means_one or TaskState.FINISHED in wanted.states:
            return wanted
        return msgspec.structs.replace(wanted, states=[*wanted.states, TaskState.FINISHED])

    def _statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        """Read and decode, without those of which nothing is stored, and without results that are long."""
        snapshots = self.read_many(task_ids)
        return [self._decode(snapshot, MAX_LISTED_SIZE) for snapshot in snapshots if not snapshot.is_empty]

    def _decode(self, snapshot: Snapshot, inline_size: int) -> TaskStatus:
        status = decode(snapshot, final_states=self._final_states, inline_size=inline_size)
        if status is None:
            raise TaskNotFound
        return status

    def health(self) -> Health:
        """Find out which parts answer; never raises for one that does not."""
        store = broker = worker = epoch = None
        warnings: Sequence[str] = ()
        try:
            report = self._store.report()
            store, epoch, warnings = self._refusal(report), report.epoch, self._warnings(report)
            if report.worker_seen_seconds is None:
                worker = "none was ever seen"
        except Unavailable as error:
            store, worker = str(error), "not known without the store"
        try:
            self._broker.check()
        except Unavailable:
            broker = "does not answer"
        return Health(store=store, broker=broker, worker=worker, store_epoch=epoch, warnings=warnings)

    def check_store(self) -> Sequence[str]:
        """Give what an operator should know of the store when the service starts.

        Raises:
            StoreVolatile: it may lose tasks, and the settings do not allow that.
            StoreUnavailable: it cannot be known now; `health` finds out again each time.
        """
        report = self._store.report()
        if refusal := self._refusal(report):
            raise StoreVolatile(refusal)
        return self._warnings(report)

    def _refusal(self, report: StoreReport) -> str | None:
        refuses = self._volatile_store is VolatileStore.REFUSE and report.weaknesses
        return " ".join([*report.weaknesses, _REFUSED]) if refuses else None

    def _warnings(self, report: StoreReport) -> Sequence[str]:
        accepts = self._volatile_store is VolatileStore.ACCEPT
        return report.warnings if accepts else [*report.weaknesses, *report.warnings]


def _still_fits(status: TaskStatus, wanted: Filter) -> bool:
    return (not wanted.states or status.state in wanted.states) and wanted.name in (None, status.name)


def _queued(submitted: Note, submitted_at: datetime) -> TaskStatus:
    """Give the status that a read of what has just been written would give, without reading it."""
    return TaskStatus(
        id=submitted.task_id,
        name=submitted.name,
        state=TaskState.QUEUED,
        done=False,
        celery_state="PENDING",
        queue=submitted.queue,
        labels=dict(submitted.labels or {}),
        submitted_at=submitted_at,
        updated_at=submitted_at,
        scheduled_for=submitted.scheduled_for,
        expires_at=submitted.expires_at,
    )
