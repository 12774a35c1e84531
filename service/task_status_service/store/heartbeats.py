"""The last heartbeat of each worker instance, and the facts that Redis reports about itself.

Rule 1: reading heartbeats costs no round trip. The commands are sent with another read, at most once a second.
Rule 2: silence includes only time in which this process could read heartbeats. An outage of the store makes no
        instance silent: the store must have been up, and reachable from this process, for the whole time.
Rule 3: the start and the progress of a task also prove liveness: a task may start before the first heartbeat.
Rule 4: an unknown value is None: the record names no instance, or the store rejects heartbeats at present.
Rule 5: the number of instances in one read is limited. Beyond it, an instance is read by name once a task names it.
Rule 6: on first detection, silence is at most `LOST_SECONDS`. This process may have slept through an outage, and the
        next heartbeat of a live instance follows within seconds.
"""

import importlib.resources
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
from task_status_service.store.clock_offset import ClockOffset
from task_status_service.store.failovers import Failovers
from task_status_service.store.server_info import is_replica, number_of, read_only_reason

log = logging.getLogger(__name__)

Command = tuple[str | bytes | int, ...]

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

#: limit of the instances that one read returns, and of those that are read by name
MAX_INSTANCES: Final = 2_000
#: limit of the bytes of an instance's name: Celery's node name, and a random part
MAX_NAME_BYTES: Final = 512

_SCRIPT: Final = importlib.resources.files(__package__).joinpath("lua", "heartbeats.lua").read_text(encoding="utf-8")
_SECOND: Final = "%Y-%m-%dT%H:%M:%SZ"
#: time after its last query at which a lost instance is forgotten
_FORGET_SECONDS: Final = 3_600.0
#: number of commands in every read
_REPLIES: Final = 4


class _Lost(msgspec.Struct):
    """An instance that this process has detected as lost."""

    found_at: float
    queried_at: float


class HeartbeatsHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of heartbeats.lua, as JSON; names of instances follow."""

    #: a score
    since: str
    limit: int
    name_bytes: int


class _Received(msgspec.Struct, frozen=True):
    """The heartbeats received in one read."""

    #: instance -> time of its last heartbeat, in seconds by the store's clock
    instances: Mapping[bytes, float]
    #: time of the read, by the same clock
    at: float
    #: time without interruption in which heartbeats could be received; no silence is longer
    receiving_seconds: float
    #: there are more instances than these
    has_more: bool = False


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
        #: instances that tasks name, and that the last read did not return
        self._wanted: dict[bytes, None] = {}
        self._loss: str | None = None
        self._loss_at = now()
        #: the value of the key that identifies the data of the store; None if it is unknown or lost
        self._stored_epoch: str | None = None
        self._failovers = Failovers(now=now)
        self._clock_offset = ClockOffset()
        #: the last heartbeat of any instance, in seconds by the store's clock; None without any for a day
        self.newest_at: float | None = None
        #: the reply to `INFO`; empty if the command is forbidden
        self.info: Mapping[str, str] = {}

    def commands(self, *, at_once: bool = False) -> Sequence[Command]:
        """Return the commands to send before another read; none if the last read is less than a second old.

        The commands may be sent twice. The caller passes the replies to `update` before it uses later replies.
        """
        if not self.is_due and not at_once:
            return ()
        self._due_at = self._clock() + self._interval_seconds
        # Relative to the time of the last read, because the time of this one is not known yet.
        since = self._received.at - self._window_seconds if self._received is not None else "-inf"
        head = HeartbeatsHead(since=str(since), limit=MAX_INSTANCES, name_bytes=MAX_NAME_BYTES)
        # All of INFO, because Redis before 7 returns one section or all.
        always: tuple[Command, ...] = (
            ("TIME",),
            # Not by its hash, which is unknown to a Redis that was restarted.
            ("EVAL", _SCRIPT, 1, self._keys.workers, msgspec.json.encode(head), *self._wanted),
            ("INFO",),
            ("GET", self._keys.epoch),
        )
        return (
            always if self._stored_epoch is not None else (("SET", self._keys.epoch, self._new_epoch(), "NX"), *always)
        )

    def _new_epoch(self) -> str:
        return f"{self._now():{_SECOND}}/{secrets.token_hex(4)}"

    def update(self, replies: Sequence[Any]) -> None:
        """Process the replies to `commands`, raw or parsed by redis-py; an error may be one of them."""
        time_, instances, info, epoch = replies[-_REPLIES:]
        self.info = {} if isinstance(info, Exception) else _facts(info)
        self._failovers.receive(self.info)
        if not isinstance(epoch, Exception):
            self._receive_epoch(epoch.decode("utf-8", "replace") if epoch else None)
        received_at = self._clock()
        if isinstance(time_, Exception) or isinstance(instances, Exception) or read_only_reason(self.info) is not None:
            self._received, self._receiving_since = None, received_at
            return
        at = float(time_[0]) + float(time_[1]) / 1e6
        self._clock_offset.receive(at - self._now().timestamp())
        newest, has_more, *pairs = instances
        self.newest_at = float(newest) if newest else None
        if self._has_server_changed(at, received_at):
            self._receiving_since = received_at
        self._received_at, self._run_id = received_at, self.info.get("run_id")
        uptime_seconds = number_of(self.info, "uptime_in_seconds", default=math.inf)
        self._received = _Received(
            instances=_scores(pairs),
            at=at,
            receiving_seconds=min(uptime_seconds, received_at - self._receiving_since),
            has_more=bool(has_more),
        )
        if not has_more:
            self._wanted = {}
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
        if self._stored_epoch is not None and epoch != self._stored_epoch:
            self._loss_at = self._now()
            self._loss = (
                f"The store has lost its data: at {self._loss_at:{_SECOND}} its epoch was no longer "
                f"{self.epoch}. Earlier tasks are unknown (404): submit them again, and make Redis durable."
            )
            log.error("%s", self._loss)
        self._stored_epoch = epoch

    @property
    def epoch(self) -> str | None:
        """Identifies the data of the store, and changes with a failover; None if it is unknown or lost."""
        return None if self._stored_epoch is None else self._stored_epoch + self._failovers.mark

    @property
    def is_replica(self) -> bool:
        """Whether the server of the last read was a replica."""
        return is_replica(self.info)

    @property
    def is_due(self) -> bool:
        """Whether `commands` would return some: the last read is more than a second old."""
        return self._clock() >= self._due_at

    @property
    def store_time(self) -> datetime:
        """The present time by the store's clock; by this process's clock before the first read."""
        return self._now() + timedelta(seconds=self._clock_offset.seconds)

    @property
    def warnings(self) -> list[str]:
        """Return the warnings about lost data, for a day after this process has detected it, and about the clock."""
        last_day = self._now() - DATA_LOSS_WARNING
        lost = [self._loss] if self._loss is not None and self._loss_at >= last_day else []
        return [*lost, *self._failovers.warnings(since=last_day), *self._clock_offset.warnings]

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
        last = received.instances.get(instance)
        if last is None:
            if received.has_more:
                self._request(instance)
                return None
            last = -math.inf
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

    def _request(self, instance: bytes) -> None:
        """Read an instance by name from now on, the first of too many no longer."""
        if len(instance) <= MAX_NAME_BYTES:
            if len(self._wanted) >= MAX_INSTANCES:
                self._wanted.pop(next(iter(self._wanted)), None)
            self._wanted[instance] = None


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    seconds = unpack_seconds(record.get(field))
    return -math.inf if seconds is None else seconds


def _scores(pairs: Sequence[Any]) -> dict[bytes, float]:
    return {bytes(member): float(score) for member, score in zip(pairs[::2], pairs[1::2], strict=True)}


def _facts(info: Any) -> Mapping[str, str]:
    """Return the fields of an `INFO` reply, raw or parsed by redis-py."""
    if isinstance(info, Mapping):
        return {name: str(fact) for name, fact in info.items()}
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
