"""What is heard of tasks (pubsub.py), fanned out to those who wait or watch.

Rule 1: a message is only a hint to read again. Redis drops them silently, so all that is watched is also read again
every few seconds, in batches, and whoever watches something that has changed is told.
Rule 2: there are no queues. A watch holds the ids that may have changed; a slow reader finds the latest, no backlog.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from typing import Final, Self

import redis
from task_status_worker.record.keys import Keys

from task_status_service.errors import TooManyWatches, Unavailable
from task_status_service.status import Snapshot
from task_status_service.store.pubsub import Listener

#: how often everything that is watched is read again; a stream converges within this and a little more
REREAD_SECONDS: Final = 3.0
#: ids read in one round trip
BATCH: Final = 200
#: how long a watch waits for Redis to confirm that it listens; reading again covers what is missed by then
CONFIRM_SECONDS: Final = 0.5


class Watch:
    """Learn which of some tasks may have changed. Close it, or use it as a context."""

    def __init__(self, feed: "Feed", task_ids: Collection[str], caller: str) -> None:
        self.task_ids = frozenset(task_ids)
        self.caller = caller
        self._feed = feed
        self._changed: set[str] = set()
        self._wake = threading.Event()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def changed(self, seconds: float) -> set[str]:
        """Wait until something may have changed, for so many seconds at the most; give the ids."""
        self._wake.wait(seconds)
        self._wake.clear()
        changed, self._changed = self._changed, set()
        return changed

    @property
    def is_over(self) -> bool:
        """Tell whether the feed has been closed: this process is about to end."""
        return self._feed.is_closed

    def tell(self, task_ids: Iterable[str]) -> None:
        """Say that some tasks may have changed."""
        self._changed |= self.task_ids.intersection(task_ids)
        self._wake.set()

    def close(self) -> None:
        """Free its place; a second time changes nothing."""
        if not self._closed:
            self._closed = True
            self._feed.forget(self)


class Feed:
    """Tell watches of what happens to tasks; starts its threads with the first one."""

    def __init__(
        self,
        connect: Callable[[], list[redis.Redis]],
        read_many: Callable[[list[str]], Iterable[Snapshot]],
        version: Callable[[Snapshot], str],
        *,
        keys: Keys,
        limit: int,
        limit_per_caller: int,
    ) -> None:
        """Take how to connect to each Redis that publishes, and how to read many tasks in one trip."""
        self._connect = connect
        self._read_many = read_many
        self._version = version
        self._keys = keys
        self._limit = limit
        self._limit_per_caller = limit_per_caller
        self._lock = threading.Lock()
        self._watches: dict[str, set[Watch]] = {}
        self._callers: Counter[str] = Counter()
        self._listeners: list[Listener] = []
        self._closed = threading.Event()

    @property
    def is_closed(self) -> bool:
        """Tell whether it was closed."""
        return self._closed.is_set()

    def watch(self, task_ids: Collection[str], *, caller: str) -> Watch:
        """Begin to watch some tasks; returns when Redis has confirmed, so that what happens from now on is told.

        Raises:
            TooManyWatches: this process, or this caller, has as many as it may have.
        """
        watch = Watch(self, task_ids, caller)
        with self._lock:
            if self._callers.total() >= self._limit or self._callers[caller] >= self._limit_per_caller:
                raise TooManyWatches
            self._callers[caller] += 1
            new = [task_id for task_id in watch.task_ids if task_id not in self._watches]
            for task_id in watch.task_ids:
                self._watches.setdefault(task_id, set()).add(watch)
            if not self._listeners:
                self._start()
            # Within the lock: else the last watch of a task could unsubscribe what the next one has subscribed.
            for listener in self._listeners:
                listener.subscribe(self._channels(new))
        deadline = time.monotonic() + CONFIRM_SECONDS
        for listener in self._listeners:
            listener.wait_confirmed(self._channels(watch.task_ids), deadline)
        return watch

    def forget(self, watch: Watch) -> None:
        """Free the place of a watch."""
        with self._lock:
            self._callers[watch.caller] -= 1
            if not self._callers[watch.caller]:
                del self._callers[watch.caller]
            unwatched = []
            for task_id in watch.task_ids:
                watches = self._watches[task_id]
                watches.discard(watch)
                if not watches:
                    del self._watches[task_id]
                    unwatched.append(task_id)
            for listener in self._listeners:
                listener.unsubscribe(self._channels(unwatched))

    def close(self) -> None:
        """End every watch, so that clients resume elsewhere."""
        self._closed.set()
        self._tell(list(self._watches))
        for listener in self._listeners:
            listener.close()

    def _start(self) -> None:
        self._listeners = [Listener(client, self._watched_channels, self._on_message) for client in self._connect()]
        for listener in self._listeners:
            threading.Thread(target=listener.run, name="task-status-feed", daemon=True).start()
        threading.Thread(target=self._reread, name="task-status-reread", daemon=True).start()

    def _channels(self, task_ids: Iterable[str]) -> list[str]:
        return [channel for task_id in task_ids for channel in (self._keys.meta(task_id), self._keys.record(task_id))]

    def _watched_channels(self) -> list[str]:
        with self._lock:
            return self._channels(self._watches)

    def _on_message(self, channel: str | None) -> None:
        """Tell those who watch the task of a channel; all of them after a connection was lost (None)."""
        if channel is None:
            self._tell(list(self._watches))
        else:
            self._tell([self._keys.task_of(channel)])

    def _tell(self, task_ids: list[str]) -> None:
        with self._lock:
            told = {watch for task_id in task_ids for watch in self._watches.get(task_id, ())}
        for watch in told:
            watch.tell(task_ids)

    def _reread(self) -> None:
        """Read all that is watched every few seconds, and tell what is not what it was; what is new may be already."""
        seen: dict[str, str] = {}
        while not self._closed.wait(REREAD_SECONDS):
            task_ids = list(self._watches)
            now: dict[str, str] = {}
            for start in range(0, len(task_ids), BATCH):
                batch = task_ids[start : start + BATCH]
                with contextlib.suppress(Unavailable):
                    now |= {snapshot.task_id: self._version(snapshot) for snapshot in self._read_many(batch)}
            self._tell([task_id for task_id, version in now.items() if seen.get(task_id) != version])
            # What could not be read keeps the version it had.
            seen = {task_id: now.get(task_id) or seen.get(task_id, "") for task_id in task_ids}
