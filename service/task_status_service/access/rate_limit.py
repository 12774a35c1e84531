"""How often something may happen: the generic cell rate algorithm (ITU-T I.371), pure, in this process only.

One number is kept for each who is counted: when its budget will be full again. There is nothing to be reset, no window
at whose edge twice as much passes, and no trip to anywhere.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

_SECOND_NS: Final = 1_000_000_000


class Budget(NamedTuple):
    """What is left to someone."""

    #: how often it may happen at once, from now
    left: int
    #: until all of the budget is there again
    full_seconds: int
    #: until it may happen again; 0: it has been counted
    wait_seconds: int


class RateLimit:
    """Count what happens, and say when it is too much: `burst` at once, and `per_second` for as long as one likes."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        most: int = 10_000,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Take the limit, how many are kept count of, and a clock in nanoseconds: whole numbers add up exactly.

        Of more than `most`, who was not heard of for longest begins anew.
        """
        self.burst = burst
        self.window_seconds = math.ceil(burst / per_second)
        self._interval_ns = math.ceil(_SECOND_NS / per_second)
        self._tolerance_ns = self._interval_ns * (burst - 1)
        self._most = most
        self._clock_ns = clock_ns
        self._full_at: OrderedDict[str, int] = OrderedDict()

    def take(self, whose: str) -> Budget:
        """Count one, unless it is too much: then nothing is counted, so that those who wait get on."""
        now = self._clock_ns()
        behind = max(0, self._full_at.get(whose, 0) - now)
        over = behind - self._tolerance_ns
        if over > 0:
            return Budget(0, _seconds(behind), _seconds(over))
        behind += self._interval_ns
        self._full_at[whose] = now + behind
        self._full_at.move_to_end(whose)
        if len(self._full_at) > self._most:
            self._full_at.popitem(last=False)
        return Budget(self.burst - -(-behind // self._interval_ns), _seconds(behind), 0)


def _seconds(nanoseconds: int) -> int:
    return -(-nanoseconds // _SECOND_NS)
