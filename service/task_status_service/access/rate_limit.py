"""Rate limiting by the generic cell rate algorithm (ITU-T I.371).

It stores one number per key: the time at which the full burst is available again. Unlike a fixed window, it never
allows twice the limit around the edge of a window, and it needs no timer. A time that has passed means the same as no
time, so memory is only occupied by keys that were used recently.
"""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from task_status_service.access.shared_memory import Cells

_SECOND_NS: Final = 1_000_000_000


class Budget(NamedTuple):
    """Remaining requests of one key."""

    #: requests that are allowed at once from now on
    left: int
    #: seconds until the full burst is available again
    full_seconds: int
    #: seconds until the next request is allowed; 0 means that this one was allowed
    wait_seconds: int


class RateLimit:
    """A limit per key: `burst` requests at once, and a sustained rate of `per_second`."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        full_at: Cells | None = None,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Create a limit.

        Args:
            per_second: sustained rate.
            burst: requests that are allowed at once.
            full_at: memory of the times, which several processes may share; None is memory of this limit alone.
            clock_ns: returns nanoseconds, as integers because sums of integers are exact; all processes of a machine
                must read the same clock, as they do with CLOCK_MONOTONIC.
        """
        self.burst = burst
        self.window_seconds = math.ceil(burst / per_second)
        self._interval_ns = math.ceil(_SECOND_NS / per_second)
        self._tolerance_ns = self._interval_ns * (burst - 1)
        self._clock_ns = clock_ns
        # Of two keys, the one with the smaller time is replaced: many keys with a few requests each cannot reset a key
        # that has reached its limit.
        self._full_at = full_at or Cells()

    def take(self, key: str) -> Budget:
        """Count a request of a key; a request beyond the limit is not counted, so that waiting always helps."""
        now = self._clock_ns()
        behind = max(0, self._full_at.get(key) - now)
        over = behind - self._tolerance_ns
        if over > 0:
            return Budget(0, _seconds(behind), _seconds(over))
        behind = self._full_at.advance(key, now, self._interval_ns) - now
        # Below 0 if another process has taken the last request at the same moment.
        left = max(0, self.burst - -(-behind // self._interval_ns))
        return Budget(left, _seconds(behind), 0)


def _seconds(nanoseconds: int) -> int:
    return -(-nanoseconds // _SECOND_NS)
