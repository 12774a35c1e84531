"""Rate limiting by the generic cell rate algorithm (ITU-T I.371), in the memory of this process.

It stores one number per key: the time at which the full burst is available again. Unlike a fixed window, it never
allows twice the limit around the edge of a window, and it needs no timer and no round trip.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

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
        *,
        most: int = 10_000,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Create a limit.

        Args:
            per_second: sustained rate.
            burst: requests that are allowed at once.
            most: keys that are remembered; beyond it, the least recently used one is forgotten.
            clock_ns: returns nanoseconds, as integers because sums of integers are exact.
        """
        self.burst = burst
        self.window_seconds = math.ceil(burst / per_second)
        self._interval_ns = math.ceil(_SECOND_NS / per_second)
        self._tolerance_ns = self._interval_ns * (burst - 1)
        self._most = most
        self._clock_ns = clock_ns
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def take(self, key: str) -> Budget:
        """Count a request of a key; a request beyond the limit is not counted, so that waiting always helps."""
        now = self._clock_ns()
        behind = max(0, self._full_at.get(key, 0) - now)
        over = behind - self._tolerance_ns
        if over > 0:
            return Budget(0, _seconds(behind), _seconds(over))
        behind += self._interval_ns
        self._full_at[key] = now + behind
        self._full_at.move_to_end(key)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return Budget(self.burst - -(-behind // self._interval_ns), _seconds(behind), 0)


def _seconds(nanoseconds: int) -> int:
    return -(-nanoseconds // _SECOND_NS)
