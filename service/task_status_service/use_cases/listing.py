"""Lists of tasks: the filter, the cursor position and the pages."""

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from task_status_service.errors import RateLimited
from task_status_service.status import TaskState
from task_status_service.status.cache import CachedStatus

#: tasks that one page checks at most for a filter with several conditions: bounds the cost of a rare match
MAX_LOOKED_AT: Final = 100


class Position(msgspec.Struct, frozen=True):
    """A cursor position in the list: the page after this task, which may have expired since."""

    #: time of the submission or the first record, in Unix milliseconds; never changes
    at_ms: int
    #: the bytes of a forged id that is no text are surrogate escapes (PEP 383)
    task_id: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks to list; an empty or None field does not filter."""

    #: None lists the tasks of all owners, and those without an owner
    owner: str | None = None
    #: the task is in any of these states
    states: Sequence[TaskState] = ()
    name: str | None = None
    #: all of these
    labels: Mapping[str, str] = {}
    #: at this time or later, aware
    submitted_after: datetime | None = None
    #: before this time, aware
    submitted_before: datetime | None = None

    @property
    def is_scan(self) -> bool:
        """Whether it has several conditions, of which the index can answer only one."""
        return bool(self.states) + bool(self.name) + len(self.labels) > 1


class IndexPage(msgspec.Struct, frozen=True):
    """A page of task ids from the index, newest first."""

    task_ids: Sequence[str]
    #: position of the next page; None on the last page
    next: Position | None


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some tasks of a list."""

    items: list[CachedStatus]
    #: position of the next page; None on the last page
    next: Position | None = None
    #: requested ids that are unknown or have another owner
    missing: list[str] = []


class Turns:
    """One scan of the index at a time for each caller, in this process: the scans of one must not delay all others."""

    def __init__(self, *, wait_seconds: float = 2.0) -> None:
        """Create turns; a caller waits for its turn up to `wait_seconds`."""
        self._wait_seconds = wait_seconds
        self._change = threading.Lock()
        #: caller -> its lock, and the number of its requests that hold it or wait for it
        self._locks: dict[str, tuple[threading.Lock, int]] = {}

    @contextlib.contextmanager
    def turn(self, caller: str) -> Iterator[None]:
        """Wait for the earlier scans of a caller.

        Raises:
            RateLimited: They take too long.
        """
        with self._change:
            lock, users = self._locks.get(caller, (threading.Lock(), 0))
            self._locks[caller] = lock, users + 1
        try:
            if not lock.acquire(timeout=self._wait_seconds):
                raise RateLimited(
                    "Too many lists with several filters at once: wait for one before you request the next.",
                    retry_after_seconds=1,
                )
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._change:
                lock, users = self._locks[caller]
                if users == 1:
                    del self._locks[caller]
                else:
                    self._locks[caller] = lock, users - 1
