"""The sweep: tasks whose records have expired leave the index, even if no task is written any more.

Rule 1: each note expires a few due tasks itself (note.lua); the sweep expires the rest.
Rule 2: a part of the index is checked in each sweep, because Redis may have evicted records of tasks in it.
Rule 3: every process sweeps. Each task is expired once, because the scripts of Redis run one after another.
"""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from task_status_service.errors import Unavailable

log = logging.getLogger(__name__)

#: pause between two sweeps
PAUSE_SECONDS: Final = 5.0
#: limit of the batches of one sweep, so that other work of the store is not delayed for long
MAX_BATCHES: Final = 100


class Place(msgspec.Struct, frozen=True):
    """A place in the index: a key, and the rank of a task in it."""

    key: bytes
    rank: int


#: the begin of the index
START: Final = Place(b"", 0)


class ExpiryStore(Protocol):
    """A store whose tasks expire. Raises `StoreUnavailable`."""

    def expire_due(self) -> bool:
        """Expire a batch of due tasks in one round trip; return whether more tasks are due."""
        ...

    def check_index(self, place: Place) -> Place:
        """Drop tasks without a record from a part of the index, in one round trip; return the next place."""
        ...


class Sweeper:
    """A sweeper of expired tasks."""

    def __init__(self, store: ExpiryStore, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._store = store
        self._sleep = sleep
        self._place = START

    def run(self, is_over: Callable[[], bool]) -> None:
        """Sweep repeatedly until `is_over`; no exception ends the loop."""
        while not is_over():
            self._sleep(PAUSE_SECONDS)
            try:
                self.sweep()
            except Unavailable as error:
                log.debug("Expired tasks were not removed: %s", error)
            except Exception:
                # Without this handler, a defect would end sweeping until the process restarts.
                log.exception("Expired tasks were not removed from the index; the next sweep follows")

    def sweep(self) -> None:
        """Expire the due tasks, and check the next part of the index.

        Raises:
            Unavailable: the store does not answer.
        """
        for _ in range(MAX_BATCHES):
            if not self._store.expire_due():
                break
        self._place = self._store.check_index(self._place)
