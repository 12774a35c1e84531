"""Failovers of Redis: which one happened, and which accepted tasks it may have lost.

A promoted replica keeps the history of its old master up to an offset, and begins another one. INFO shows both:
`master_replid2` is the old history, and `second_repl_offset` is the first byte that differs
(https://redis.io/docs/latest/operate/oss_and_stack/management/replication/). Later writes to the old master are lost.
A master that restarts from a snapshot with replicas continues in the same way (rdb.c, rdbSaveInfo).
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

import msgspec

log = logging.getLogger(__name__)

#: reads that are remembered, to find the last one that the new master shares: about two minutes
_READS: Final = 120
_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"


class _Read(msgspec.Struct, frozen=True):
    """The position of a master in its history, at one moment."""

    at: datetime
    offset: int


class Failovers:
    """The failovers that this process has noticed."""

    def __init__(self, *, now: Callable[[], datetime]) -> None:
        self._now = now
        self._history: str | None = None
        self._reads: deque[_Read] = deque(maxlen=_READS)
        self._warning: str | None = None
        self._warned_at = now()
        #: the part of the epoch that changes with each failover; empty before the first one
        self.mark = ""

    def receive(self, info: Mapping[str, str]) -> None:
        """Process an `INFO` reply of a master; log a failover since the last one."""
        history = info.get("master_replid")
        if history is None or info.get("role") != "master":
            return
        old_history, kept = info.get("master_replid2", ""), _number(info.get("second_repl_offset")) - 1
        # Zeros before the first failover.
        has_old = old_history.strip("0") != ""
        if self._history is not None and history != self._history:
            if has_old:
                self._report(kept)
            self._reads.clear()
        self._history = history
        self.mark = f"/{old_history[:8]}:{kept}" if has_old else ""
        self._reads.append(_Read(self._now(), _number(info.get("master_repl_offset"))))

    def _report(self, kept: int) -> None:
        self._warned_at = self._now()
        shared = [read for read in self._reads if read.offset <= kept]
        # The first read, if the new master shares none: an earlier loss would have been reported before.
        since = shared[-1].at if shared else self._reads[0].at
        lost = max(0, self._reads[-1].offset - kept)
        self._warning = (
            f"Redis has failed over: tasks accepted between {since:{_SECOND}} and {self._warned_at:{_SECOND}} may be "
            f"lost ({lost} bytes of the old master's history are missing). Submit those that return 404 again. Set "
            "`min-replicas-to-write 1` in redis.conf, so that a master without a replica rejects writes."
        )
        log.error("%s", self._warning)

    def warnings(self, *, since: datetime) -> list[str]:
        """Return the warning about the last failover, if it was noticed after a moment."""
        return [self._warning] if self._warning is not None and self._warned_at >= since else []


def _number(text: str | None) -> int:
    try:
        return int(text or "")
    except ValueError:
        return 0
