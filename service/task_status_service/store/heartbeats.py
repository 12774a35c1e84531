"""The last heartbeat of each worker instance, and the facts that Redis reports about itself.

Rule 1: reading heartbeats costs no round trip. The commands are sent with another read, at most once a second.
Rule 2: silence includes only time in which this process could read heartbeats. An outage of the store makes no
        instance silent: the store must have been up, and reachable from this process, for the whole time.
Rule 3: the start and the progress of a task also prove liveness: a task may start before the first heartbeat.
Rule 4: an unknown value is None: the record names no instance, or the store rejects heartbeats at present.
Rule 5: on first detection, silence is at most `LOST_SECONDS`. This process may have slept through an outage, and the
        next heartbeat of a live instance follows within seconds.
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
from task_status_service.store.server_info import number_of, read_only_reason

log = logging.getLogger(__name__)

Command = tuple[str | int, ...]

#: minimum time between two reads of the heartbeats
HEARTBEAT_READ_SECONDS: Final = 1.0
#: age of the oldest heartbeats that are read; an instance without one has been silent for longer
WINDOW_SECONDS: Final = 120.0
#: time from the first detection of a lost instance to its confirmation; a worker writes a heartbeat every 5 seconds
CONFIRM_SECONDS: Final = 10.0
#: a larger difference between two reads means that the clock of the store, or of this process, has jumped
JUMP_SECONDS: Final = 5.0
#: time for which `warnings` reports a data loss
DATA_LOSS_WARNING: Final = timedelta(days=1)

_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"
#: time after its last query at which a lost instance is forgotten
_FORGET_SECONDS: Final = 3_600.0
#: number of commands in every read
_REPLIES: Final = 4


class _Lost(msgspec.Struct):
    """An instance that this process has detected as lost."""

    found_at: float
    queried_at: float


class _Received(msgspec.Struct, frozen=True):
    """The heartbeats received in one read."""

    #: instance -> time of its last heartbeat, in seconds by the store's clock
    instances: Mapping[bytes, float]
    #: time of the read, by the same clock
    at: float
    #: time without interruption in which heartbeats could be received; no silence is longer
    receiving_seconds: float


class Heartbeats:
    """The last heartbeats that this process has read. Thread-safe: each read replaces the previous one as a whole."""

    def __init__(
        self,
        keys: Keys,
        *,
        window_seconds: float = WINDOW_SECONDS,
        interval_seconds: float = HEARTBEAT_READ_SECONDS,
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
        self._received: _Received | None = None
        self._received_at = -math.inf
        self._receiving_since = -math.inf
        self._run_id: str | None = None
        self._lost: dict[bytes, _Lost] = {}
        self._loss: str | None = None
        self._loss_at = now()
        #: identifies the data of the store; None if it is unknown or lost
        self.epoch: str | None = None
        #: the reply to `INFO`; empty if the command is forbidden
        self.info: Mapping[str, str] = {}

    def commands(self, *, at_once: bool = False) -> Sequence[Command]:
        """Return the commands to send before another read; none if the last read is less than a second old.

        The commands may be sent twice. The caller passes the replies to `update` before it uses later replies.
        """
        if self._clock() < self._due_at and not at_once:
            return ()
        self._due_at = self._clock() + self._interval_seconds
        # Relative to the time of the last read, because the time of this one is not known yet.
        since = self._received.at - self._window_seconds if self._received is not None else "-inf"
        # All of INFO, because Redis before 7 returns one section or all.
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
        """Process the replies to `commands`, raw or parsed by redis-py; an error may be one of them."""
        time_, instances, info, epoch = replies[-_REPLIES:]
        self.info = {} if isinstance(info, Exception) else _facts(info)
        if not isinstance(epoch, Exception):
            self._receive_epoch(epoch.decode("utf-8", "replace") if epoch else None)
        received_at = self._clock()
        if isinstance(time_, Exception) or isinstance(instances, Exception) or read_only_reason(self.info) is not None:
            self._received, self._receiving_since = None, received_at
            return
        at = float(time_[0]) + float(time_[1]) / 1e6
        if self._has_server_changed(at, received_at):
            self._receiving_since = received_at
        self._received_at, self._run_id = received_at, self.info.get("run_id")
        uptime_seconds = number_of(self.info, "uptime_in_seconds", default=math.inf)
        self._received = _Received(
            instances=dict(_pairs(instances)),
            at=at,
            receiving_seconds=min(uptime_seconds, received_at - self._receiving_since),
        )
        if self._lost:
            self._lost = {
                instance: lost
                for instance, lost in list(self._lost.items())
                if received_at - lost.queried_at < _FORGET_SECONDS and self._is_silent(instance)
            }

    def _has_server_changed(self, at: float, received_at: float) -> bool:
        """Return whether the last read was from another server, or by another clock."""
        if self._received is None:
            return False
        jump_seconds = (at - self._received.at) - (received_at - self._received_at)
        return self._run_id != self.info.get("run_id") or abs(jump_seconds) > JUMP_SECONDS

    def _is_silent(self, instance: bytes) -> bool:
        received = self._received
        return received is None or received.at - received.instances.get(instance, -math.inf) >= STALLED_SECONDS

    def _receive_epoch(self, epoch: str | None) -> None:
        if self.epoch is not None and epoch != self.epoch:
            self._loss_at = self._now()
            self._loss = (
                f"The store has lost its data: at {self._loss_at:{_SECOND}} its epoch was no longer {self.epoch}. "
                "Earlier tasks are unknown (404): submit them again, and make Redis durable."
            )
            log.error("%s", self._loss)
        self.epoch = epoch

    @property
    def warnings(self) -> list[str]:
        """Return a warning for a day after this process has detected a data loss."""
        return [self._loss] if self._loss is not None and self._now() - self._loss_at <= DATA_LOSS_WARNING else []

    def mark_unreachable(self) -> None:
        """Record that the store is unreachable now."""
        self._receiving_since = self._clock()
        self._due_at = -math.inf
        if self._received is not None:
            self._received = msgspec.structs.replace(self._received, receiving_seconds=0.0)

    def seconds_since_heartbeat(self, record: Mapping[bytes, bytes]) -> float | None:
        """Return the silence of the instance that runs a task; None if the task is not running, or if unknown."""
        if record.get(b"fact") != b"STARTED":
            return None
        instance, received = record.get(b"instance"), self._received
        if instance is None or received is None:
            return None
        last = received.instances.get(instance, -math.inf)
        if received.at - last >= STALLED_SECONDS:
            last = max(last, _seconds(record, b"started_at"), _seconds(record, b"progress_at"))
        seconds_since_heartbeat = max(0.0, min(received.at - last, received.receiving_seconds))
        if seconds_since_heartbeat > LOST_SECONDS:
            queried_at = self._clock()
            lost = self._lost.setdefault(instance, _Lost(queried_at, queried_at))
            lost.queried_at = queried_at
            if queried_at - lost.found_at < self._confirm_seconds:
                return LOST_SECONDS
        return seconds_since_heartbeat


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    seconds = unpack_seconds(record.get(field))
    return -math.inf if seconds is None else seconds


def _pairs(instances: Sequence[Any]) -> list[tuple[bytes, float]]:
    """Return members and scores; the reply is flat or in pairs, depending on the protocol version."""
    if instances and not isinstance(instances[0], bytes):
        return [(member, float(score)) for member, score in instances]
    return [(member, float(score)) for member, score in zip(instances[::2], instances[1::2], strict=True)]


def _facts(info: Any) -> Mapping[str, str]:
    """Return the fields of an `INFO` reply, raw or parsed by redis-py."""
    if isinstance(info, Mapping):
        return {name: str(fact) for name, fact in info.items()}
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
