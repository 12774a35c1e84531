"""The use cases of an existing task: read, list, cancel, forget. Tasks of other owners are not found."""

import contextlib
import time
from collections.abc import Callable, Container, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from task_status_worker.record.model import Note

from task_status_service.access.caller import Caller, Scope
from task_status_service.errors import (
    BrokerUnavailable,
    TaskDone,
    TaskExpired,
    TaskNotDone,
    TaskNotFound,
)
from task_status_service.status import (
    INLINE,
    LISTED,
    RESULT,
    FinalStates,
    Limits,
    Snapshot,
    TaskState,
    TaskStatus,
    Visibility,
    decode,
    is_ending,
    redact_for,
)
from task_status_service.status.cache import CachedStatus, StatusCache
from task_status_service.use_cases.listing import Filter, IndexPage, Position, TaskPage, Turns
from task_status_service.use_cases.lost_workers import LostTasks
from task_status_service.use_cases.results import result_of

#: Celery states of a task that no worker runs: any worker may have received its message
_WAITING: Final = frozenset({None, "PENDING", "RECEIVED", "RETRY"})


class CurrentStatus(msgspec.Struct, frozen=True):
    """The status of a task, and the snapshot that it was decoded from."""

    cached: CachedStatus
    snapshot: Snapshot


class TaskResult(msgspec.Struct, frozen=True):
    """The result of a task that has succeeded."""

    value: Any
    #: version of the status
    version: str


class NotModified(msgspec.Struct, frozen=True):
    """The caller has this version of the status; nothing was decoded."""

    version: str
    snapshot: Snapshot


class TaskStore(Protocol):
    """A store of records and metas. Raises `StoreUnavailable`, and for writes `StoreFull`."""

    def read(self, task_id: str) -> Snapshot:
        """Read everything stored about one task, in one round trip."""
        ...

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read several tasks, in order and in one round trip; `known` is not looked up.

        A huge task is read alone, when the iterator reaches it.
        """
        ...

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Read the ids of one page of the index, newest first, in one round trip of bounded cost."""
        ...

    def note(self, note: Note) -> datetime:
        """Write one fact, in one round trip; return its time."""
        ...

    def forget(self, done: Snapshot) -> bool:
        """Delete everything stored about a done task; return False if it is no longer done."""
        ...


class CancelBroker(Protocol):
    """A broker that sends cancels. Raises `BrokerUnavailable`."""

    def cancel(self, task_id: str, *, terminate: bool, worker: str | None) -> None:
        """Ask one worker, or all, not to start a task; with `terminate` also to kill it if it runs."""
        ...


class Tracker:
    """The use cases read, list, cancel and forget."""

    def __init__(
        self,
        store: TaskStore,
        broker: CancelBroker,
        lost_tasks: LostTasks,
        *,
        public: StatusCache,
        operator: StatusCache,
        final_states: FinalStates,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a tracker.

        Args:
            store: records, metas and the index.
            broker: sends cancels to the workers.
            lost_tasks: marks tasks of lost workers as failed.
            public: cache of the statuses for most callers.
            operator: cache of the statuses for callers with the scope `tracebacks`; `public` to hide tracebacks.
            final_states: custom Celery states that end a task.
            clock: seconds of a monotonic clock.
        """
        self._clock = clock
        self._store = store
        self._broker = broker
        self._lost_tasks = lost_tasks
        self._public = public
        self._operator = operator
        self._final_states = final_states
        self._turns = Turns()

    def read(self, task_id: str, caller: Caller) -> Snapshot:
        """Read everything stored about a task, in one round trip unless it is marked as failed now.

        Raises:
            TaskNotFound: the task is unknown or has another owner.
            TaskExpired: the task was known; its record and its meta have expired.
            StoreUnavailable: the store does not answer.
        """
        found = self._store.read(task_id)
        # First, so that another owner's task takes no longer than an unknown one.
        if not caller.sees(found):
            raise TaskNotFound
        snapshot = self._lost_tasks.mark_failed(found)
        if snapshot.is_empty:
            raise TaskExpired if snapshot.known else TaskNotFound
        return snapshot

    def status_of(
        self, task_id: str, caller: Caller, known: Container[str] | None = None
    ) -> CurrentStatus | NotModified:
        """Read the status of a task, unless the caller knows its version; then nothing is decoded.

        Raises:
            TaskNotFound: the task is unknown or has another owner.
            TaskExpired: the task was known; its record and its meta have expired.
            StoreUnavailable: the store does not answer.
        """
        snapshot = self.read(task_id, caller)
        version = self.version(snapshot, caller)
        if known is not None and version in known:
            return NotModified(version, snapshot)
        return CurrentStatus(self._decoded(snapshot, caller, version), snapshot)

    def status(self, task_id: str, caller: Caller) -> CachedStatus:
        """Read the status of a task. Raises as `read` does."""
        return self._decoded(self.read(task_id, caller), caller)

    def _decoded(
        self, snapshot: Snapshot, caller: Caller, version: str | None = None, limits: Limits = INLINE
    ) -> CachedStatus:
        cached = self._cache_for(caller).decoded(snapshot, version=version, limits=limits)
        if cached is None:
            raise TaskNotFound
        return cached

    def result_of(self, task_id: str, caller: Caller, known: Container[str] | None = None) -> TaskResult | NotModified:
        """Read the result of a task, unless the caller knows its version. Raises like `read` and `result_of`."""
        snapshot = self.read(task_id, caller)
        version = self.version(snapshot, caller)
        if known is not None and version in known:
            return NotModified(version, snapshot)
        return TaskResult(result_of(self._decoded(snapshot, caller, version, RESULT).status), version)

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read several tasks of any owner, in order and in one round trip; an unknown task is an empty snapshot."""
        return map(self._lost_tasks.mark_failed, self._store.read_many(task_ids))

    def _cache_for(self, caller: Caller) -> StatusCache:
        return self._operator if caller.may(Scope.TRACEBACKS) else self._public

    def public(self, status: TaskStatus) -> TaskStatus:
        """Return the parts of a status that callers of any scope may see."""
        return redact_for(status, Visibility.PUBLIC)

    def version(self, snapshot: Snapshot, caller: Caller) -> str:
        """Return the version of the status that a caller sees, without decoding it."""
        return self._cache_for(caller).version(snapshot)

    def is_ending(self, snapshot: Snapshot) -> bool:
        """Return whether Celery has stored the end of a task that its worker has not recorded yet."""
        return is_ending(snapshot, final_states=self._final_states)

    def read_statuses(
        self, task_ids: Sequence[str], caller: Caller, *, limits: Limits = INLINE
    ) -> Iterator[CachedStatus]:
        """Read the statuses of several tasks, in order and in one round trip, without those that are not found.

        They share one budget: a value over the `limits`, or after the budget is spent, reads as too large.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        cache = self._cache_for(caller)
        budget = cache.new_budget(limits, clock=self._clock)
        for found in self._store.read_many(task_ids):
            if not caller.sees(found):
                continue
            cached = cache.decoded(self._lost_tasks.mark_failed(found), budget=budget)
            if cached is not None:
                yield cached

    def statuses(self, task_ids: Sequence[str], caller: Caller) -> TaskPage:
        """List tasks by id, in order and in one round trip; a repeated id is listed once.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        ids = list(dict.fromkeys(task_ids))
        items = list(self.read_statuses(ids, caller, limits=LISTED))
        found = {one.status.id for one in items}
        return TaskPage(items=items, missing=[task_id for task_id in ids if task_id not in found])

    def page(self, wanted: Filter, caller: Caller, *, limit: int, after: Position | None = None) -> TaskPage:
        """List the tasks that a caller sees, newest first, in two round trips: the index, then the tasks.

        The index holds the state of the record alone; the status may differ, because Celery's meta may be newer. A
        task whose status does not match the filter, or that has expired, is left out: a page may hold fewer than
        `limit` tasks, or none, and still have a next page. A task without a record (not submitted here, and run by a
        worker without the kit) is in no list.

        Raises:
            StoreUnavailable: the store does not answer.
            RateLimited: the caller has too many lists with several filters at once.
        """
        if not caller.may(Scope.ADMIN):
            wanted = msgspec.structs.replace(wanted, owner=caller.owner)
        with self._turns.turn(caller.owner or "") if wanted.is_scan else contextlib.nullcontext():
            indexed = self._store.page(self._as_indexed(wanted), limit=limit, after=after)
        items = self.read_statuses(indexed.task_ids, caller, limits=LISTED)
        return TaskPage(items=[one for one in items if _still_fits(one.status, wanted)], next=indexed.next)

    def _as_indexed(self, wanted: Filter) -> Filter:
        """Add `finished` if a custom final state means a wanted state: the index does not know the settings."""
        means_wanted = not set(wanted.states).isdisjoint(self._final_states.values())
        if not means_wanted or TaskState.FINISHED in wanted.states:
            return wanted
        return msgspec.structs.replace(wanted, states=[*wanted.states, TaskState.FINISHED])

    def cancel(self, task_id: str, caller: Caller, *, terminate: bool = False) -> TaskStatus:
        """Request the cancel of a task; it is canceled when a worker confirms.

        The request is recorded first: workers with the kit check the record. The message to the workers only speeds
        this up, so an unavailable broker is ignored.

        Raises:
            TaskNotFound: the task is unknown or has another owner.
            TaskDone: the task has ended in another way.
            StoreUnavailable: the request is not recorded.
        """
        status = self._cancelable(task_id, caller)
        if not status.done:
            self._store.note(Note(task_id=task_id, cancel_requested=True, terminate=terminate or None))
            # The task may have ended before the note, which was then not recorded: no worker may get the message.
            status = self._cancelable(task_id, caller)
        if not status.done:
            # Only to the worker that runs the task: other workers would store REVOKED for an unknown id.
            worker = None if status.celery_state in _WAITING else status.worker
            with contextlib.suppress(BrokerUnavailable):
                self._broker.cancel(task_id, terminate=terminate, worker=worker)
        return redact_for(status, self._cache_for(caller).view)

    def _cancelable(self, task_id: str, caller: Caller) -> TaskStatus:
        # With the operator's visibility: a cancel needs the name of the worker.
        snapshot = self.read(task_id, caller)
        budget = self._operator.new_budget()
        status = decode(snapshot, final_states=self._final_states, budget=budget, view=Visibility.OPERATOR)
        if status is None:
            raise TaskNotFound
        if status.done and status.state is not TaskState.CANCELED:
            raise TaskDone
        return status

    def forget(self, task_id: str, caller: Caller) -> None:
        """Delete the record and the meta of a task that is done.

        Raises:
            TaskNotFound: the task is unknown or has another owner.
            TaskNotDone: the worker of a running task would record it again.
            StoreUnavailable: the store does not answer; part of the task may be deleted.
        """
        snapshot = self.read(task_id, caller)
        if not self._decoded(snapshot, caller).status.done or not self._store.forget(snapshot):
            raise TaskNotDone


def _still_fits(status: TaskStatus, wanted: Filter) -> bool:
    return (not wanted.states or status.state in wanted.states) and wanted.name in (None, status.name)
