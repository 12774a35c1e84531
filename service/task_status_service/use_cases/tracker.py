"""The use cases of a task that there is: read, list, cancel, forget. What a caller may not see is not there for it.

Knows no HTTP, Redis, Celery; declares what it calls.
"""

import contextlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import msgspec
from task_status_worker.record.model import Note

from task_status_service.access.caller import Caller, Scope
from task_status_service.errors import (
    BrokerUnavailable,
    NoResult,
    TaskDone,
    TaskExpired,
    TaskNotDone,
    TaskNotFound,
)
from task_status_service.status import (
    MAX_INLINE_SIZE,
    MAX_RESULT_SIZE,
    FinalStates,
    Snapshot,
    TaskState,
    TaskStatus,
    Visibility,
    decode,
    is_ending,
    redact_for,
)
from task_status_service.status.cache import CachedStatus, StatusCache
from task_status_service.use_cases.listing import MAX_LISTED_SIZE, Filter, IndexPage, Position
from task_status_service.use_cases.lost_workers import LostTasks

#: Celery's words for a task that no worker runs now: any of them may be the one that holds its message
_WAITING: Final = frozenset({None, "PENDING", "RECEIVED", "RETRY"})


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Hold some tasks of a list."""

    items: list[CachedStatus]
    #: where the next page begins; None if this is the last
    next: Position | None = None
    #: ids that were asked for of which nothing is stored
    missing: list[str] = []


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

    def forget(self, done: Snapshot) -> bool:
        """Delete all that is kept of a task that was seen to be done; false if it may not be any more."""
        ...

    def settle(self, note: Note, found: Snapshot, *, silent_seconds: float) -> bool:
        """Write a note, in one round trip, unless something has happened since the task was found; false if so."""
        ...


class Broker(Protocol):
    """Sends messages to the workers. Raises `BrokerUnavailable`."""

    def cancel(self, task_id: str, *, terminate: bool, worker: str | None) -> None:
        """Tell one worker, or all, not to start a task; with `terminate` also to end it where it runs."""
        ...


class Tracker:
    """Tell what became of tasks; cancel and forget them."""

    def __init__(
        self,
        store: Store,
        broker: Broker,
        lost_tasks: LostTasks,
        *,
        public: StatusCache,
        operator: StatusCache,
        final_states: FinalStates,
    ) -> None:
        """Build a tracker.

        Args:
            store: records, metas and the index.
            broker: sends cancels to the workers.
            lost_tasks: marks tasks of lost workers as failed.
            public: cache of the statuses for most callers.
            operator: cache of the statuses for callers with the scope `tracebacks`; `public` hides tracebacks from all.
            final_states: custom Celery states that end a task.
        """
        self._store = store
        self._broker = broker
        self._lost = lost_tasks
        self._public = public
        self._operator = operator
        self._final_states = final_states

    def read(self, task_id: str, caller: Caller) -> Snapshot:
        """Read what is stored about a task, in one round trip to the store; more only if it is settled as lost.

        Raises:
            TaskNotFound: nothing was ever heard of it, or it is not this caller's to see.
            TaskExpired: it was known once.
            StoreUnavailable: not now.
        """
        found = self._store.read(task_id)
        # First of all: for others' tasks nothing more is done than for one that never was.
        if not caller.sees(found):
            raise TaskNotFound
        snapshot = self._lost.settle(found)
        if snapshot.is_empty:
            raise TaskExpired if snapshot.known else TaskNotFound
        return snapshot

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read some tasks, whosever they are, in their order and in one round trip; empty where there is nothing."""
        return map(self._lost.settle, self._store.read_many(task_ids))

    def _seen_by(self, caller: Caller) -> StatusCache:
        return self._operator if caller.may(Scope.TRACEBACKS) else self._public

    def version(self, snapshot: Snapshot, caller: Caller) -> str:
        """Name what was read: another name whenever the status that a caller sees may be another one.

        Decodes nothing.
        """
        return self._seen_by(caller).version(snapshot)

    def is_ending(self, snapshot: Snapshot) -> bool:
        """Tell whether the end of a task is stored and is about to be told."""
        return is_ending(snapshot, final_states=self._final_states)

    def decoded(self, snapshot: Snapshot, caller: Caller, version: str | None = None) -> CachedStatus:
        """Decode what was read as a caller may see it, of this version if that is known already.

        Raises:
            TaskNotFound: nothing is stored.
        """
        decoded = self._seen_by(caller).decoded(snapshot, version=version)
        if decoded is None:
            raise TaskNotFound
        return decoded

    def decoded_many(
        self, task_ids: Sequence[str], caller: Caller, *, inline_size: int = MAX_INLINE_SIZE
    ) -> Iterator[CachedStatus]:
        """Read and decode some tasks, in their order and in one round trip, without those that are not there.

        Raises:
            StoreUnavailable: not now.
        """
        decodings = self._seen_by(caller)
        for found in self._store.read_many(task_ids):
            if not caller.sees(found):
                continue
            decoded = decodings.decoded(self._lost.settle(found), inline_size=inline_size)
            if decoded is not None:
                yield decoded

    def result(self, snapshot: Snapshot) -> Any:
        """Give the result of a task that has succeeded, of any size that is read.

        Raises:
            TaskNotDone: it has none yet.
            NoResult: it has none, because it did not succeed, or because nobody stores it.
            TaskExpired: it has none any more.
        """
        status = decode(snapshot, final_states=self._final_states, inline_size=MAX_RESULT_SIZE)
        if status is None:
            raise TaskNotFound
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

    def statuses(self, task_ids: Sequence[str], caller: Caller) -> TaskPage:
        """Tell the statuses of these tasks, in this order, in one round trip; one that is asked for twice once.

        Raises:
            StoreUnavailable: not now.
        """
        ids = list(dict.fromkeys(task_ids))
        items = list(self.decoded_many(ids, caller, inline_size=MAX_LISTED_SIZE))
        found = {one.status.id for one in items}
        return TaskPage(items=items, missing=[task_id for task_id in ids if task_id not in found])

    def page(self, wanted: Filter, caller: Caller, *, limit: int, after: Position | None = None) -> TaskPage:
        """List the tasks that a caller sees, newest first, in two round trips: the index, and what it names.

        The index knows a task by what its record alone says; the status has the last word, for Celery's meta may know
        better. So a task whose status is in none of the states that were asked for, or of another name, is left out,
        as is one that has expired since: a page may hold fewer than `limit`, or none, and still have a next one. A task
        without a record, of a worker without the kit that nobody submitted here, is in no list.

        Raises:
            StoreUnavailable: not now.
        """
        if not caller.may(Scope.ADMIN):
            wanted = msgspec.structs.replace(wanted, owner=caller.owner)
        indexed = self._store.page(self._as_indexed(wanted), limit=limit, after=after)
        items = self.decoded_many(indexed.task_ids, caller, inline_size=MAX_LISTED_SIZE)
        return TaskPage(items=[one for one in items if _still_fits(one.status, wanted)], next=indexed.next)

    def _as_indexed(self, wanted: Filter) -> Filter:
        """Add `finished` where a custom final state may mean a state that is asked for: the index knows no settings."""
        means_one = not set(wanted.states).isdisjoint(self._final_states.values())
        if not means_one or TaskState.FINISHED in wanted.states:
            return wanted
        return msgspec.structs.replace(wanted, states=[*wanted.states, TaskState.FINISHED])

    def cancel(self, task_id: str, caller: Caller, *, terminate: bool = False) -> TaskStatus:
        """Ask for the end of a task; it is canceled when a worker says so, or was canceled already.

        The cancel is recorded first: workers with the kit obey the record. Telling them is what makes it quick, so a
        broker that does not answer changes nothing. Nothing is written for an id of which nothing is stored.

        Raises:
            TaskNotFound: there is nothing to cancel.
            TaskDone: it has ended otherwise.
            StoreUnavailable: it is not recorded.
        """
        status = self._cancelable(task_id, caller)
        if not status.done:
            self._store.note(Note(task_id=task_id, cancel_requested=True, terminate=terminate or None))
            # It may have ended before that; then nothing was recorded, and it must not be told to any worker.
            status = self._cancelable(task_id, caller)
        if not status.done:
            # Only to the worker that runs it: another one would store REVOKED for what it does not know.
            worker = None if status.celery_state in _WAITING else status.worker
            with contextlib.suppress(BrokerUnavailable):
                self._broker.cancel(task_id, terminate=terminate, worker=worker)
        return redact_for(status, self._seen_by(caller).view)

    def _cancelable(self, task_id: str, caller: Caller) -> TaskStatus:
        # From inside: where it runs is where it is canceled.
        status = decode(self.read(task_id, caller), final_states=self._final_states, view=Visibility.OPERATOR)
        if status is None:
            raise TaskNotFound
        if status.done and status.state is not TaskState.CANCELED:
            raise TaskDone
        return status

    def forget(self, task_id: str, caller: Caller) -> None:
        """Delete all that is kept of a task that is done: its record and its result.

        Raises:
            TaskNotFound: there is nothing to forget.
            TaskNotDone: it would come back.
            StoreUnavailable: not now; part of it may be gone.
        """
        snapshot = self.read(task_id, caller)
        if not self.decoded(snapshot, caller).status.done or not self._store.forget(snapshot):
            raise TaskNotDone


def _still_fits(status: TaskStatus, wanted: Filter) -> bool:
    return (not wanted.states or status.state in wanted.states) and wanted.name in (None, status.name)
