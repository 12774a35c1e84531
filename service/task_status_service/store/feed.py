"""Hints of changed tasks from pub/sub (pubsub.py), fanned out to the waits and streams of this process.

Rule 1: a message is only a hint to read again. Redis drops messages silently, so all watched tasks are also read again
every few seconds, in batches, and the watches of each changed task are notified.
Rule 2: there are no queues. A watch holds the ids that may have changed; a slow reader finds the latest, no backlog.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Self

import redis
from task_status_worker.record.keys import Keys

from task_status_service.access.watch_limits import Places, WatchLimit
from task_status_service.errors import Unavailable
from task_status_service.status import Snapshot
from task_status_service.store.pubsub import Subscriber

log = logging.getLogger(__name__)

#: seconds between two readings of all watched tasks; a stream shows each change within this and a little more
REREAD_SECONDS: Final = 3.0
#: ids read in one round trip
BATCH: Final = 200
#: seconds a watch waits for Redis to confirm its subscriptions; the next reading covers a change missed until then
CONFIRM_SECONDS: Final = 0.5


class Watch:
    """The ids of some tasks that may have changed. Close it, or use it as a context manager."""

    def __init__(self, feed: "Feed", task_ids: Collection[str], limits: Sequence[WatchLimit]) -> None:
        self.task_ids = frozenset(task_ids)
        self.limits = limits
        self._feed = feed
        self._changed: set[str] = set()
        self._wake = threading.Event()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def changed(self, seconds: float) -> set[str]:
        """Wait at most `seconds` for a hint; return the ids that may have changed."""
        self._wake.wait(seconds)
        self._wake.clear()
        changed, self._changed = self._changed, set()
        return changed

    @property
    def is_over(self) -> bool:
        """Return whether the feed has been closed because this process is about to end."""
        return self._feed.is_closed

    def notify(self, task_ids: Iterable[str]) -> None:
        """Wake the waiting thread, and add those of the ids that this watch covers."""
        self._changed |= self.task_ids.intersection(task_ids)
        self._wake.set()

    def close(self) -> None:
        """Free the place of this watch; a second call changes nothing."""
        if not self._closed:
            self._closed = True
            self._feed.forget(self)


class Feed:
    """All watches of one process; its threads start with the first watch."""

    def __init__(
        self,
        connect: Callable[[], list[redis.Redis]],
        read_many: Callable[[list[str]], Iterable[Snapshot]],
        version: Callable[[Snapshot], str],
        *,
        keys: Keys,
        places: Places,
    ) -> None:
        """Create a feed that opens no connection yet.

        Args:
            connect: returns a client for each Redis that publishes.
            read_many: reads many tasks in one round trip.
            version: returns a text that differs whenever the status differs.
            keys: the names of the keys, which are also the channels.
            places: the places for watches.
        """
        self._connect = connect
        self._read_many = read_many
        self._version = version
        self._keys = keys
        self._places = places
        self._lock = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._subscribers: list[Subscriber] = []
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Return whether `close` was called."""
        return self._closed.is_set()

    def watch(self, task_ids: Collection[str], *, limits: Sequence[WatchLimit]) -> Watch:
        """Watch some tasks, and return when Redis has confirmed the subscriptions.

        Each change after the return reaches the watch.

        Raises:
            TooManyWatches: this process, or one of the limits, is reached.
        """
        watch = Watch(self, task_ids, limits)
        with self._lock:
            self._places.take(limits)
            new = [task_id for task_id in watch.task_ids if task_id not in self._watches]
            for task_id in watch.task_ids:
                self._watches.setdefault(task_id, set()).add(watch)
            if not self._subscribers:
                self._start()
            # Within the lock: otherwise the end of a task's last watch could unsubscribe the channels of its next one.
            for subscriber in self._subscribers:
                subscriber.subscribe(self._channels(new))
        deadline = time.monotonic() + CONFIRM_SECONDS
        for subscriber in self._subscribers:
            subscriber.wait_confirmed(self._channels(watch.task_ids), deadline)
        return watch

    def forget(self, watch: Watch) -> None:
        """Free the place of a watch, and unsubscribe from the tasks that no other one watches."""
        with self._lock:
            self._places.free(watch.limits)
            unwatched = []
            for task_id in watch.task_ids:
                watches = self._watches[task_id]
                watches.discard(watch)
                if not watches:
                    del self._watches[task_id]
                    unwatched.append(task_id)
            for subscriber in self._subscribers:
                subscriber.unsubscribe(self._channels(unwatched))

    def close(self) -> None:
        """End every watch, so that clients resume with another process."""
        self._closed.set()
        self._notify(list(self._watches))
        for subscriber in self._subscribers:
            subscriber.close()

    def _start(self) -> None:
        self._subscribers = [Subscriber(client, self._watched_channels, self._on_message) for client in self._connect()]
        for subscriber in self._subscribers:
            threading.Thread(target=subscriber.run, name="task-status-feed", daemon=True).start()
        threading.Thread(target=self._run_rereads, name="task-status-reread", daemon=True).start()

    def _channels(self, task_ids: Iterable[str]) -> list[str]:
        return [channel for task_id in task_ids for channel in (self._keys.meta(task_id), self._keys.record(task_id))]

    def _watched_channels(self) -> list[str]:
        with self._lock:
            return self._channels(self._watches)

    def _on_message(self, channel: str | None) -> None:
        """Notify the watches of a channel's task; every watch after a lost connection (None)."""
        if channel is None:
            self._notify(list(self._watches))
        else:
            self._notify([self._keys.task_of(channel)])

    def _notify(self, task_ids: list[str]) -> None:
        with self._lock:
            watches = {watch for task_id in task_ids for watch in self._watches.get(task_id, ())}
        for watch in watches:
            watch.notify(task_ids)

    def _run_rereads(self) -> None:
        """Read all watched tasks every few seconds. No error ends this loop: nothing would start it again."""
        seen: dict[str, str] = {}
        while not self._closed.wait(REREAD_SECONDS):
            try:
                seen = self._reread(seen)
            except Exception:
                log.exception("Watched tasks were not read again; the next attempt is in %s s", REREAD_SECONDS)

    def _reread(self, seen: dict[str, str]) -> dict[str, str]:
        """Read all watched tasks, notify the watches of changed and new ones, and return the versions."""
        task_ids = list(self._watches)
        now: dict[str, str] = {}
        for start in range(0, len(task_ids), BATCH):
            batch = task_ids[start : start + BATCH]
            with contextlib.suppress(Unavailable):
                now |= {snapshot.task_id: self._version(snapshot) for snapshot in self._read_many(batch)}
        # A new task counts as changed: the change may have come before its first reading.
        self._notify([task_id for task_id, version in now.items() if seen.get(task_id) != version])
        # A task that could not be read keeps its version.
        return {task_id: now.get(task_id) or seen.get(task_id, "") for task_id in task_ids}
