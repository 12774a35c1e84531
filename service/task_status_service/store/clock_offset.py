"""The difference between the clock of the store and that of this process.

Celery's workers compare `eta` and `expires` with their own clocks. Times of a submission are therefore computed by the
clock of the store, which all sides can compare with theirs, and a difference is reported.
"""

import logging
import statistics
from collections import deque
from typing import Final

log = logging.getLogger(__name__)

#: a larger difference is reported: more than the duration of a read, less than the usual `expires`
WARNING_SECONDS: Final = 5.0
#: number of reads whose median counts, so that one slow reply does not
_READS: Final = 5


class ClockOffset:
    """The seconds by which the store's clock is ahead of this process's clock."""

    def __init__(self) -> None:
        self._offsets: deque[float] = deque(maxlen=_READS)
        self._has_warned = False
        #: 0 before the first read
        self.seconds = 0.0

    def receive(self, seconds: float) -> None:
        """Process the offset of one read; log when it becomes too large, and when it is small again."""
        if self._offsets and abs(seconds - self.seconds) > WARNING_SECONDS:
            # A clock was set: the earlier reads tell nothing about it any more.
            self._offsets.clear()
        self._offsets.append(seconds)
        self.seconds = statistics.median(self._offsets)
        if bool(self.warnings) != self._has_warned:
            self._has_warned = not self._has_warned
            log.warning("%s", self.warnings[0] if self.warnings else "The clock of this server is right again.")

    @property
    def warnings(self) -> list[str]:
        """Return a warning if the clocks differ by more than `WARNING_SECONDS`."""
        if abs(self.seconds) <= WARNING_SECONDS:
            return []
        direction = "behind" if self.seconds > 0 else "ahead of"
        warning = (
            f"The clock of this server is {abs(self.seconds):.0f} s {direction} the clock of Redis. Synchronize the "
            "clocks of Redis, this server and the workers with NTP: times of tasks depend on them."
        )
        return [warning]
