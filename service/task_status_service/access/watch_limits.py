"""Limits of concurrent watches (waits and event streams): of each process, and of each caller."""

from collections.abc import Sequence
from typing import NamedTuple

from task_status_service.access.shared_memory import Cells, Counts
from task_status_service.errors import TooManyWatches


class WatchLimit(NamedTuple):
    """A limit of concurrent watches with one key."""

    key: str
    most: int
    #: the error if it is reached
    exceeded: str


class Places:
    """The places for watches of one process, counted for each caller in all processes of the server."""

    def __init__(self, most: int, counts: Counts | None = None) -> None:
        """Create places for `most` watches of this process; `counts` may be shared with other processes."""
        self._most = most
        self._taken = 0
        self._counts = counts or Counts(Cells())

    def take(self, limits: Sequence[WatchLimit]) -> None:
        """Take a place within the limit of this process and all given limits.

        Raises:
            TooManyWatches: A limit is reached; no place is taken.
        """
        if self._taken >= self._most:
            raise TooManyWatches(
                "Too many concurrent waits and event streams on this server: poll, or retry later; the operator can "
                "raise TASK_STATUS_WATCHES."
            )
        for limit in limits:
            if self._counts.total(limit.key) >= limit.most:
                raise TooManyWatches(limit.exceeded)
        self._taken += 1
        for limit in limits:
            self._counts.change(limit.key, 1)

    def free(self, limits: Sequence[WatchLimit]) -> None:
        """Free a place that was taken with the same limits."""
        self._taken -= 1
        for limit in limits:
            self._counts.change(limit.key, -1)
