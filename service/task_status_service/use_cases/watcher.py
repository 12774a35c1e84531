"""The use cases that take time: wait for a task, and watch some to their end."""

import time
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from task_status_service.access.caller import Caller
from task_status_service.errors import Fault, InvalidArguments, Unavailable
from task_status_service.status.cache import CachedStatus
from task_status_service.use_cases.tracker import CurrentStatus, NotModified, Tracker

#: how often one who waits looks whether its client is still there, and what could not be read can be now
LOOK_SECONDS: Final = 1.0
#: how long one who waits for a change waits on for an end that is stored and not told yet; it takes milliseconds
ENDING_SECONDS: Final = 1.0
#: a stream says that it is alive at least this often
HEARTBEAT_SECONDS: Final = 15.0
#: how long a stream lasts; its client comes back and goes on where it was
STREAM_SECONDS: Final = 600.0


class Watch(Protocol):
    """Tells which of some tasks may have changed: a hint to read again, never the truth itself."""

    def changed(self, seconds: float) -> set[str]:
        """Wait until something may have changed, for so many seconds at the most; give the ids."""
        ...

    @property
    def is_over(self) -> bool:
        """Tell whether there is no point in waiting on: this process is about to end."""
        ...

    def close(self) -> None:
        """Free its place; a second time changes nothing."""
        ...


class Feed(Protocol):
    """Watches tasks."""

    def watch(self, task_ids: Collection[str], *, caller: str) -> Watch:
        """Begin to watch; what happens from then on is told. Raises `TooManyWatches`."""
        ...


class StatusEvent(msgspec.Struct, frozen=True):
    """One status of a stream, and the versions of all its tasks as of then."""

    decoded: CachedStatus
    versions: Mapping[str, str]


class Watcher:
    """Wait and watch. The order is always: watch, read, then wait; so nothing that happens in between is missed."""

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
        counted_as: str,
        known: Container[str] | None,
        is_gone: Callable[[], bool],
    ) -> CurrentStatus | NotModified:
        """Wait until a task is done or, for a client that knows a version, until it has another version.

        Args:
            task_id: the task.
            seconds: the limit of the wait.
            caller: the caller; other owners' tasks are not found.
            counted_as: the name that the limit of concurrent waits counts the caller by.
            known: versions that the client knows; None to wait until the task is done.
            is_gone: whether the client has closed its connection; the wait ends then.

        Raises:
            TooManyWatches: the limit of concurrent waits is reached.
            TaskNotFound: the task is unknown or has another owner.
            StoreUnavailable: the store does not answer.
        """
        deadline = self._clock() + seconds
        watch = self._feed.watch([task_id], caller=counted_as)
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
                    # The end is stored but not yet recorded: an answer `running` now would cost another poll.
                    ending_until = min(ending_until, now + ENDING_SECONDS)
                    watch.changed(ending_until - now)
                    continue
                while not watch.changed(min(left, LOOK_SECONDS)):
                    left = deadline - self._clock()
                    if left <= 0 or watch.is_over or is_gone():
                        return found
        finally:
            watch.close()

    def watch(self, task_ids: Sequence[str], *, counted_as: str) -> Watch:
        """Take a place for a stream, which its owner closes.

        Raises:
            TooManyWatches: there is none.
        """
        return self._feed.watch(task_ids, caller=counted_as)

    def read(self, task_ids: Sequence[str], caller: Caller) -> list[CachedStatus]:
        """Read the tasks of a stream that is about to begin, in one round trip.

        CachedStatus at once: what is stored may be far larger than what is told of it.

        Raises:
            InvalidArguments: naming those that are not there for this caller.
        """
        decoded = list(self._tracker.read_statuses(task_ids, caller))
        if unknown := sorted(set(task_ids) - {one.status.id for one in decoded}):
            faults = [Fault(f"{task_id}: no such task", parameter="id") for task_id in unknown]
            raise InvalidArguments("There is nothing to watch.", faults)
        return decoded

    def is_at_end(self, decoded: Sequence[CachedStatus], known: Mapping[str, str]) -> bool:
        """Tell whether all tasks are done and their last versions are known."""
        return all(one.status.done and _is_same(known.get(one.status.id), one.version) for one in decoded)

    def stream(
        self, watch: Watch, decoded: Sequence[CachedStatus], known: Mapping[str, str], caller: Caller
    ) -> Iterator[StatusEvent | None]:
        """Give each status of which `known` does not name the beginning of the version, until all are done.

        None now and then if there is nothing to say. A task that is gone, forgotten or lost, is watched no more. It
        ends after `STREAM_SECONDS` too, and when the process is about to end. Who reads slowly gets the latest status
        and not those in between.
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
            # A hint comes once: what cannot be read now is tried again.
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
