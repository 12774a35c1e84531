"""The heartbeats: when each worker instance was last heard of, and what the store says of itself.

Rule 1: it is no trip of its own. It rides at the head of a trip that is made anyway, at most once a second.
Rule 2: silence is the time in which one has listened in vain. Nobody is heard while the store is away, so an outage
        makes nobody silent: the store must have been up, and in reach of this process, for as long.
Rule 3: a start and a progress are signs of life, too: an instance may start a task before its first heartbeat is seen.
Rule 4: what is not known is None: no instance, or a store that takes no heartbeats at present.
Rule 5: nobody is silent for longer than `LOST_SECONDS` at first sight. This process may have slept through an outage,
        and whoever lives is heard of a moment later.
"""

import logging
import math
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from task_status_worker.record.codec import unpack_seconds
from task_status_worker.record.keys import Keys

from task_status_service.status import LOST_SECONDS, STALLED_SECONDS
from task_status_service.store.server_info import hindrance_of, number_of

log = logging.getLogger(__name__)

Command = tuple[str | int, ...]

#: at least so long between two pulses
PULSE_SECONDS: Final = 1.0
#: how far back instances are asked for; who is not among them is silent for longer
WINDOW_SECONDS: Final = 120.0
#: who is lost at first sight and is not heard of for so much longer is lost; a worker beats every five seconds
CONFIRM_SECONDS: Final = 10.0
#: the store's clock, or this process, has jumped if they differ by more between two pulses
JUMP_SECONDS: Final = 5.0
#: how long it is told that the store has lost its data
TOLD: Final = timedelta(days=1)

_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"
#: how long it is remembered that an instance was found lost, after it was last asked for
_FORGET_SECONDS: Final = 3_600.0
#: replies to the commands that are always sent
_REPLIES: Final = 4


class _Lost(msgspec.Struct):
    """An instance that this process has found lost."""

    found_at: float
    asked_at: float


class _Heard(msgspec.Struct, frozen=True):
    """What one heartbeats told."""

    #: instance -> when it was last heard of, in seconds by the store's clock
    instances: Mapping[bytes, float]
    #: when that was, by the same clock
    at: float
    #: nobody is silent for longer than this
    listened_seconds: float


class Heartbeats:
    """Hold the last heartbeat read of this process. Thread-safe: each read replaces the last one as a whole."""

    def __init__(
        self,
        keys: Keys,
        *,
        window_seconds: float = WINDOW_SECONDS,
        interval_seconds: float = PULSE_SECONDS,
        confirm_seconds: float = CONFIRM_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._keys = keys
        self._window_seconds = max(window_seconds, WINDOW_SECONDS)
        self._interval_seconds = interval_seconds
        self._confirm_seconds = confirm_seconds
        self._clock = clock
        self._now = now
        self._due_at = -math.inf
        self._heard: _Heard | None = None
        self._heard_at = -math.inf
        self._listening_since = -math.inf
        self._run_id: str | None = None
        self._lost: dict[bytes, _Lost] = {}
        self._loss: str | None = None
        self._loss_at = now()
        #: names the time since which the store has kept its data; None if it is not known, or gone
        self.epoch: str | None = None
        #: what the store says of itself, as `INFO` names it; empty if it may not be asked
        self.info: Mapping[str, str] = {}

    def commands(self, *, at_once: bool = False) -> Sequence[Command]:
        """Give what to put at the head of a trip; nothing if the last heartbeats is not a second old.

        They may be sent twice. Whoever sends them hands the replies to `hear`, before those that follow are used.
        """
        if self._clock() < self._due_at and not at_once:
            return ()
        self._due_at = self._clock() + self._interval_seconds
        # Asked for by the time of the last heartbeats, because the time of this one is not known yet.
        since = self._heard.at - self._window_seconds if self._heard is not None else "-inf"
        # All of INFO, for Redis before 7 gives one section or all.
        always: tuple[Command, ...] = (
            ("TIME",),
            ("ZREVRANGEBYSCORE", self._keys.workers, "+inf", str(since), "WITHSCORES"),
            ("INFO",),
            ("GET", self._keys.epoch),
        )
        return always if self.epoch is not None else (("SET", self._keys.epoch, self._new_epoch(), "NX"), *always)

    def _new_epoch(self) -> str:
        return f"{self._now():{_SECOND}}/{secrets.token_hex(4)}"

    def update(self, replies: Sequence[Any]) -> None:
        """Take the replies to `commands`, raw or as redis-py parses them; an error that the store replied is given."""
        time_, instances, info, epoch = replies[-_REPLIES:]
        self.info = {} if isinstance(info, Exception) else _facts(info)
        if not isinstance(epoch, Exception):
            self._hear_epoch(epoch.decode("utf-8", "replace") if epoch else None)
        heard_at = self._clock()
        if isinstance(time_, Exception) or isinstance(instances, Exception) or hindrance_of(self.info) is not None:
            self._heard, self._listening_since = None, heard_at
            return
        at = float(time_[0]) + float(time_[1]) / 1e6
        if self._is_another_store(at, heard_at):
            self._listening_since = heard_at
        self._heard_at, self._run_id = heard_at, self.info.get("run_id")
        uptime_seconds = number_of(self.info, "uptime_in_seconds", otherwise=math.inf)
        self._heard = _Heard(
            instances=dict(_pairs(instances)),
            at=at,
            listened_seconds=min(uptime_seconds, heard_at - self._listening_since),
        )
        if self._lost:
            self._lost = {
                instance: lost
                for instance, lost in list(self._lost.items())
                if heard_at - lost.asked_at < _FORGET_SECONDS and self._is_silent(instance)
            }

    def _is_another_store(self, at: float, heard_at: float) -> bool:
        """Tell whether the last heartbeats came from another server, or by another clock."""
        if self._heard is None:
            return False
        jump_seconds = (at - self._heard.at) - (heard_at - self._heard_at)
        return self._run_id != self.info.get("run_id") or abs(jump_seconds) > JUMP_SECONDS

    def _is_silent(self, instance: bytes) -> bool:
        heard = self._heard
        return heard is None or heard.at - heard.instances.get(instance, -math.inf) >= STALLED_SECONDS

    def _hear_epoch(self, epoch: str | None) -> None:
        if self.epoch is not None and epoch != self.epoch:
            self._loss_at = self._now()
            self._loss = (
                f"The store has lost its data: at {self._loss_at:{_SECOND}} its epoch was no longer {self.epoch}. What "
                "was recorded before is gone, and reads as never heard of (404)."
            )
            log.error("%s", self._loss)
        self.epoch = epoch

    @property
    def warnings(self) -> list[str]:
        """List what an operator should know: that this process has seen the store lose its data, for a day."""
        return [self._loss] if self._loss is not None and self._now() - self._loss_at <= TOLD else []

    def mark_unreachable(self) -> None:
        """Remember that the store could not be reached just now."""
        self._listening_since = self._clock()
        self._due_at = -math.inf
        if self._heard is not None:
            self._heard = msgspec.structs.replace(self._heard, listened_seconds=0.0)

    def seconds_since_heartbeat(self, record: Mapping[bytes, bytes]) -> float | None:
        """Tell for how long nothing was heard of the instance that runs a task; None if none does, or if unknown."""
        if record.get(b"fact") != b"STARTED":
            return None
        instance, heard = record.get(b"instance"), self._heard
        if instance is None or heard is None:
            return None
        last = heard.instances.get(instance, -math.inf)
        if heard.at - last >= STALLED_SECONDS:
            last = max(last, _seconds(record, b"started_at"), _seconds(record, b"progress_at"))
        seconds_since_heartbeat = max(0.0, min(heard.at - last, heard.listened_seconds))
        if seconds_since_heartbeat > LOST_SECONDS:
            asked_at = self._clock()
            lost = self._lost.setdefault(instance, _Lost(asked_at, asked_at))
            lost.asked_at = asked_at
            if asked_at - lost.found_at < self._confirm_seconds:
                return LOST_SECONDS
        return seconds_since_heartbeat


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    seconds = unpack_seconds(record.get(field))
    return -math.inf if seconds is None else seconds


def _pairs(instances: Sequence[Any]) -> list[tuple[bytes, float]]:
    """Read members and scores, flat or in pairs: Redis answers in either, by protocol."""
    if instances and not isinstance(instances[0], bytes):
        return [(member, float(score)) for member, score in instances]
    return [(member, float(score)) for member, score in zip(instances[::2], instances[1::2], strict=True)]


def _facts(info: Any) -> Mapping[str, str]:
    """Read the lines of `INFO`, or what redis-py has made of them."""
    if isinstance(info, Mapping):
        return {name: str(fact) for name, fact in info.items()}
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
