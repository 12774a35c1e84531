"""The use cases that wait: for one task, or for changes of several tasks."""

import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from task_status_service.access.caller import Caller
from task_status_service.access.watch_limits import WatchLimit
from task_status_service.errors import Fault, InvalidArguments, Unavailable
from task_status_service.status.cache import CachedStatus
from task_status_service.use_cases.tracker import CurrentStatus, NotModified, Tracker

#: interval at which a wait checks its client, and a stream retries a failed read
LOOK_SECONDS: Final = 1.0
#: limit of the wait for the record of an end that Celery has stored; it takes milliseconds
ENDING_SECONDS: Final = 1.0
#: longest interval between two events or comments of a stream
HEARTBEAT_SECONDS: Final = 15.0
#: limit of a stream; its client reconnects with `Last-Event-ID`
STREAM_SECONDS: Final = 600.0


class Watch(Protocol):
    """A watch of some tasks. It reports only that a task may have changed: a hint to read it again."""

    def changed(self, seconds: float) -> set[str]:
        """Wait for some seconds until a task may have changed; return the ids of these tasks."""
        ...

    @property
    def is_over(self) -> bool:
        """Return whether the process is about to end; no further change is reported then."""
        ...

    def close(self) -> None:
        """End the watch, and free its place in the limits; a second call does nothing."""
        ...


class Feed(Protocol):
    """A source of watches."""

    def watch(self, task_ids: Collection[str], *, limits: Sequence[WatchLimit]) -> Watch:
        """Start a watch within limits; every later change is reported. Raises `TooManyWatches`."""
        ...


class StatusEvent(msgspec.Struct, frozen=True):
    """A status in a stream, and the versions of all tasks of the stream at that time."""

    decoded: CachedStatus
    versions: Mapping[str, str]


class Watcher:
    """Waits and streams. The order is always: watch, read, wait; so that no change in between is missed."""

    def __init__(self, tracker: Tracker, feed: Feed, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tracker = tracker
        self._feed = feed
        self._clock = clock

    def wait(
        self,
        task_id: str,
        seconds: float,
        caller: Caller,
        *,
        limits: Sequence[WatchLimit],
        known: Container[str] | None,
        is_gone: Callable[[], bool],
    ) -> CurrentStatus | NotModified:
        """Wait until a task is done or, for a client that knows a version, until it has another version.

        Args:
            task_id: the task.
            seconds: the limit of the wait.
            caller: the caller; other owners' tasks are not found.
            limits: limits of the caller's concurrent waits.
            known: versions that the client knows; None to wait until the task is done.
            is_gone: returns whether the client has closed its connection; the wait ends then.

        Raises:
            TooManyWatches: a limit of concurrent waits is reached.
            TaskNotFound: the task is unknown or has another owner.
            StoreUnavailable: the store does not answer.
        """
        deadline = self._clock() + seconds
        watch = self._feed.watch([task_id], limits=limits)
        ending_until = deadline
        try:
            while True:
                found = self._tracker.status_of(task_id, caller, known)
                now = self._clock()
                left = deadline - now
                if left <= 0 or watch.is_over:
                    return found
                if isinstance(found, CurrentStatus) and (known is not None or found.cached.status.done):
                    if now >= ending_until or not self._tracker.is_ending(found.snapshot):
                        return found
                    # The end is stored but not yet recorded: the response `running` would cause another poll.
                    ending_until = min(ending_until, now + ENDING_SECONDS)
                    watch.changed(ending_until - now)
                    continue
                while not watch.changed(min(left, LOOK_SECONDS)):
                    left = deadline - self._clock()
                    if left <= 0 or watch.is_over or is_gone():
                        return found
        finally:
            watch.close()

    def watch(self, task_ids: Sequence[str], *, limits: Sequence[WatchLimit]) -> Watch:
        """Start a watch for a stream; the caller closes it.

        Raises:
            TooManyWatches: a limit of concurrent watches is reached.
        """
        return self._feed.watch(task_ids, limits=limits)

    def read(self, task_ids: Sequence[str], caller: Caller) -> list[CachedStatus]:
        """Read the tasks of a stream before it starts, in one round trip.

        The snapshots are decoded at once, because they may be far larger than the statuses.

        Raises:
            InvalidArguments: an id is unknown or belongs to another owner; the error names each of them.
        """
        decoded = list(self._tracker.read_statuses(task_ids, caller))
        if unknown := sorted(set(task_ids) - {one.status.id for one in decoded}):
            faults = [Fault(f"{task_id}: no such task", parameter="id") for task_id in unknown]
            raise InvalidArguments("Some tasks do not exist: correct the ids in `errors`.", faults)
        return decoded

    def is_at_end(self, decoded: Sequence[CachedStatus], known: Mapping[str, str]) -> bool:
        """Return whether all tasks are done, and the client has their last versions."""
        return all(one.status.done and _is_same(known.get(one.status.id), one.version) for one in decoded)

    def stream(
        self, watch: Watch, decoded: Sequence[CachedStatus], known: Mapping[str, str], caller: Caller
    ) -> Iterator[StatusEvent | None]:
        """Yield each status that the client does not have, until all tasks are done.

        Yields None after `HEARTBEAT_SECONDS` without a change. A task that was forgotten or has expired is dropped.
        The stream also ends after `STREAM_SECONDS`, and when the process is about to end. A slow reader receives
        only the latest status of a task.
        """
        deadline = self._clock() + STREAM_SECONDS
        versions = dict(known)
        pending = {one.status.id for one in decoded}
        unread: set[str] = set()
        news = decoded
        while True:
            for one in news:
                if one.status.done:
                    pending.discard(one.status.id)
                is_known = _is_same(versions.get(one.status.id), one.version)
                versions[one.status.id] = one.version
                if not is_known:
                    yield StatusEvent(one, dict(versions))
            if not pending or watch.is_over or self._clock() >= deadline:
                return
            # Each change is reported once, so a failed read must be retried.
            changed = (watch.changed(LOOK_SECONDS if unread else HEARTBEAT_SECONDS) | unread) & pending
            try:
                news, unread = list(self._tracker.read_statuses(sorted(changed), caller)), set()
            except Unavailable:
                news, unread = [], changed
            pending -= changed - unread - {one.status.id for one in news}
            if not (changed - unread or watch.is_over):
                yield None


def _is_same(known: str | None, version: str) -> bool:
    return bool(known) and version.startswith(known or version)
