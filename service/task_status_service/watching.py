"""The use cases that take time: wait for a task, and watch some to their end."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from task_status_service.errors import Fault, InvalidArguments, TaskNotFound, Unavailable
from task_status_service.status import Snapshot, TaskStatus
from task_status_service.tracker import Tracker

#: how often one who waits looks whether its client is still there
LOOK_SECONDS: Final = 1.0
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


class Seen(msgspec.Struct, frozen=True):
    """One status of a stream, and the versions of all its tasks as of then."""

    status: TaskStatus
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
        *,
        caller: str,
        is_known: Callable[[str], bool] | None,
        is_gone: Callable[[], bool],
    ) -> Snapshot:
        """Wait until a task is done, or, for a client that knows some version, until there is another one.

        Gives what is known after `seconds` at the latest, and as soon as `is_gone` says that nobody waits any more.

        Raises:
            TooManyWatches: not now.
            TaskNotFound: there is nothing to wait for.
            StoreUnavailable: it cannot be known.
        """
        deadline = self._clock() + seconds
        watch = self._feed.watch([task_id], caller=caller)
        try:
            while True:
                snapshot = self._tracker.read(task_id)
                left = deadline - self._clock()
                if left <= 0 or watch.is_over or self._is_awaited(snapshot, is_known):
                    return snapshot
                while not watch.changed(min(left, LOOK_SECONDS)):
                    left = deadline - self._clock()
                    if left <= 0 or watch.is_over or is_gone():
                        return snapshot
        finally:
            watch.close()

    def _is_awaited(self, snapshot: Snapshot, is_known: Callable[[str], bool] | None) -> bool:
        if is_known is not None:
            return not is_known(self._tracker.version(snapshot))
        return self._tracker.status(snapshot).done

    def watch(self, task_ids: Sequence[str], *, caller: str) -> Watch:
        """Take a place for a stream, which its owner closes.

        Raises:
            TooManyWatches: there is none.
        """
        return self._feed.watch(task_ids, caller=caller)

    def read_all(self, task_ids: Sequence[str]) -> list[Snapshot]:
        """Read the tasks of a stream that is about to begin.

        Raises:
            InvalidArguments: naming those that nobody has heard of.
        """
        snapshots = list(self._tracker.read_many(task_ids))
        if unknown := [snapshot.task_id for snapshot in snapshots if snapshot.is_empty]:
            faults = [Fault(f"{task_id}: no such task", parameter="id") for task_id in unknown]
            raise InvalidArguments("There is nothing to watch.", faults)
        return snapshots

    def is_at_end(self, snapshots: Sequence[Snapshot], known: Mapping[str, str]) -> bool:
        """Tell whether all tasks are done and their last versions are known."""
        return all(
            _is_same(known.get(snapshot.task_id), self._tracker.version(snapshot))
            and self._tracker.status(snapshot).done
            for snapshot in snapshots
        )

    def stream(self, watch: Watch, snapshots: Sequence[Snapshot], known: Mapping[str, str]) -> Iterator[Seen | None]:
        """Give each status of which `known` does not name the beginning of the version, until all are done.

        None now and then if there is nothing to say. Ends after `STREAM_SECONDS` too, and when the process is about to
        end. Whoever reads slowly gets the latest status and not those in between.
        """
        deadline = self._clock() + STREAM_SECONDS
        versions = dict(known)
        pending = {snapshot.task_id for snapshot in snapshots}
        news = list(snapshots)
        while True:
            for snapshot in news:
                version = self._tracker.version(snapshot)
                status = self._tracker.status(snapshot)
                if status.done:
                    pending.discard(snapshot.task_id)
                is_known = _is_same(versions.get(snapshot.task_id), version)
                versions[snapshot.task_id] = version
                if not is_known:
                    yield Seen(status, dict(versions))
            if not pending or watch.is_over or self._clock() >= deadline:
                return
            changed = watch.changed(HEARTBEAT_SECONDS) & pending
            if not changed and not watch.is_over:
                yield None
            news = self._read_again(changed)

    def _read_again(self, task_ids: Collection[str]) -> list[Snapshot]:
        """Read what has changed; what cannot be read now is told of again, and what is gone stays as it was."""
        if not task_ids:
            return []
        try:
            return [snapshot for snapshot in self._tracker.read_many(sorted(task_ids)) if not snapshot.is_empty]
        except (Unavailable, TaskNotFound):
            return []


def _is_same(known: str | None, version: str) -> bool:
    return bool(known) and version.startswith(known or version)
