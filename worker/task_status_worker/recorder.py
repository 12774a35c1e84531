"""The recorder: writes notes to Redis, and never makes a task fail or wait.

Rule 1: a note is one round trip, bounded by short timeouts and never retried in place.
Rule 2: a note that cannot be written goes into a bounded buffer. From then on only the flusher uses Redis, so that an
unreachable Redis costs a process one timeout instead of one per note.
Rule 3: the notes of a process are written in the order in which they were made, each with its age.
Rule 4: a note that fails for another reason than Redis is dropped, at once or after `MAX_FAILURES` attempts: it would
block all notes behind it.
Rule 5: a start request is sent at once or not at all. Without an answer the task starts.
"""

import contextlib
import enum
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from task_status_worker.record.codec import note_call
from task_status_worker.record.keys import CONSUMER_SECONDS, SEEN_SECONDS, Keys, Retention
from task_status_worker.record.model import Note, Noted

logger = logging.getLogger(__name__)

#: notes that one process keeps while Redis is unreachable; the oldest are dropped first
BUFFER_LIMIT: Final = 1_000

#: seconds between two attempts to write the buffer
FLUSH_INTERVAL_SECONDS: Final = 0.5

#: attempts to write a note that end with an unexpected error, before it is dropped
MAX_FAILURES: Final = 5

#: a larger difference between the clocks of Redis and of a worker is logged
CLOCK_WARNING_SECONDS: Final = 5.0

#: seconds without further requests for flags after Redis did not answer one
_PAUSE_SECONDS: Final = 1.0


class Unreachable(Exception):
    """Redis does not answer or rejects writes at present: the same call may succeed later."""


class Refused(Exception):
    """Redis rejects this write, and will reject it again."""


class Flags(msgspec.Struct, frozen=True):
    """The facts of a record that a worker reads before and while it executes the task."""

    #: the task is running
    running: bool = False
    #: the task has ended
    final: bool = False
    #: a cancel is recorded
    cancel_requested: bool = False
    #: the cancel must kill a running execution
    terminate: bool = False


class Seen(msgspec.Struct, frozen=True):
    """The answer to a heartbeat."""

    #: the first heartbeat of the instance, or its announcements are missing
    is_new: bool
    #: its time by the Redis clock, in seconds since the epoch
    at: float


class RecordClient(Protocol):
    """The Redis of the recorder. Each call may raise `Unreachable` or `Refused`."""

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        """Run `NOTE_SCRIPT`."""
        ...

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        """Return the flags of some records, in their order; an unreadable record has none."""
        ...

    def see_worker(self, key: str, instance: str, *, announced: Sequence[str], repairs: str) -> Seen:
        """Store a heartbeat, and delete instances without one for a day.

        `announced` are the keys of the consumers and of the task types; without its entry an instance is new.
        A key of another type is deleted, and noted under the key `repairs`; the next call stores the heartbeat.
        """
        ...

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        """Store entries with the time of the Redis clock, and delete those older than `keep_seconds`."""
        ...


class StatusEvent(enum.IntEnum):
    """The answer of Redis to a heartbeat."""

    NO = 0
    AGAIN = 1
    #: the first heartbeat of the instance, or the first after Redis has lost its data or announcements
    NEW = 2


class _Taken(msgspec.Struct, frozen=True):
    """A note that waits to be written."""

    note: Note
    #: when it was made, in seconds of the recorder's clock
    at: float


class _Process:
    """The recorder's state in one process; a forked child gets its own, because the parent's locks may be held."""

    def __init__(self, client: RecordClient) -> None:
        self.pid = os.getpid()
        self.client = client
        #: guards the fields below
        self.lock = threading.Lock()
        self.buffer: deque[_Taken] = deque()
        self.dropped = 0
        #: unexpected errors of the first note of the buffer
        self.failures = 0
        #: no requests for flags before this time, in seconds of the recorder's clock
        self.paused_until = float("-inf")
        self.flusher: threading.Thread | None = None
        #: held by the thread that writes the buffer
        self.flushing = threading.Lock()


class Recorder:
    """The writer of notes for one Celery app. Safe in threads, greenlets and after a fork; never raises."""

    def __init__(
        self,
        connect: Callable[[], RecordClient],
        *,
        keys: Keys,
        retention: Retention,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        flush_interval_seconds: float = FLUSH_INTERVAL_SECONDS,
        buffer_limit: int = BUFFER_LIMIT,
    ) -> None:
        self.keys = keys
        self.retention = retention
        self._connect = connect
        self._clock = clock
        self._wall_clock = wall_clock
        self._is_clock_wrong = False
        self._flush_interval_seconds = flush_interval_seconds
        self._buffer_limit = buffer_limit
        self._process: _Process | None = None
        self._starting = threading.Lock()

    @property
    def buffered(self) -> int:
        """The number of notes of this process that wait for Redis."""
        return len(self._here().buffer)

    def ask(self, note: Note, *, insists: bool = False) -> Noted | None:
        """Write a note now and return the answer; None if Redis did not accept it. The note is not kept.

        While notes are buffered, Redis is known to be unreachable: then it is only tried if `insists` is set.
        """
        here = self._here()
        if here.buffer and not insists:
            return None
        try:
            return self._write(here, _Taken(note, self._clock()))
        except (Unreachable, Refused) as error:
            logger.warning("Redis did not answer whether task %s may start; starting it: %s", note.task_id, error)
            return None

    def note(self, note: Note) -> Noted | None:
        """Write a note now or buffer it; return None if it was buffered or rejected."""
        here = self._here()
        taken = _Taken(note, self._clock())
        with here.lock:
            if here.buffer:
                self._keep(here, taken)
                return None
        try:
            return self._write(here, taken)
        except Unreachable as error:
            with here.lock:
                if not here.buffer:
                    logger.warning("Redis does not accept the records of tasks; buffering them: %s", error)
                self._keep(here, taken)
        except Refused:
            logger.exception("Redis refused to record %s of task %a", note.fact, note.task_id)
        return None

    def keep(self, note: Note) -> None:
        """Buffer a note that Redis has just not accepted."""
        here = self._here()
        with here.lock:
            self._keep(here, _Taken(note, self._clock()))

    def flush(self) -> bool:
        """Write the buffered notes, oldest first, until Redis fails; return whether the buffer is empty."""
        here = self._here()
        with here.flushing:
            while True:
                with here.lock:
                    if not here.buffer:
                        return True
                    taken = here.buffer[0]
                try:
                    self._write(here, taken)
                except Unreachable:
                    return False
                except Refused:
                    logger.exception("Redis refused to record %s of task %a", taken.note.fact, taken.note.task_id)
                    here.dropped += 1
                except Exception:
                    here.failures += 1
                    if here.failures < MAX_FAILURES:
                        raise
                    logger.exception("Cannot record %s of task %a: dropped", taken.note.fact, taken.note.task_id)
                    here.dropped += 1
                here.failures = 0
                with here.lock:
                    # Only now, so that later notes queue behind this one while it is written.
                    if here.buffer[0] is taken:
                        here.buffer.popleft()
                    if not here.buffer:
                        logger.info("Redis accepts the records of tasks again; %d were lost", here.dropped)
                        here.dropped = 0

    def flags(self, task_ids: Sequence[str]) -> list[Flags] | None:
        """Return the flags of some tasks, in their order; None if Redis does not answer or did not a moment ago."""
        here = self._here()
        if here.buffer or self._clock() < here.paused_until:
            return None
        try:
            return here.client.flags([self.keys.record(task_id) for task_id in task_ids])
        except (Unreachable, Refused) as error:
            here.paused_until = self._clock() + _PAUSE_SECONDS
            logger.warning("Redis did not answer which tasks are canceled or have ended; running them: %s", error)
            return None

    def see_worker(self, instance: str) -> StatusEvent:
        """Send a heartbeat of a worker instance."""
        try:
            seen = self._here().client.see_worker(
                self.keys.workers,
                instance,
                announced=[self.keys.consumers, self.keys.task_types],
                repairs=self.keys.repairs,
            )
        except (Unreachable, Refused):
            return StatusEvent.NO
        self._compare_clocks(seen.at)
        return StatusEvent.NEW if seen.is_new else StatusEvent.AGAIN

    def _compare_clocks(self, redis_time: float) -> None:
        """Warn once if the clock of this worker is wrong: Celery compares `eta` and `expires` with it."""
        seconds = redis_time - self._wall_clock()
        is_wrong = abs(seconds) > CLOCK_WARNING_SECONDS
        if is_wrong and not self._is_clock_wrong:
            logger.warning(
                "The clock of this worker is %.0f s %s the clock of Redis. Synchronize the clocks with NTP: tasks with "
                "countdown, eta or expires start at wrong times, or expire too early",
                abs(seconds),
                "behind" if seconds > 0 else "ahead of",
            )
        self._is_clock_wrong = is_wrong

    def announce(self, entries_at: Callable[[int], Mapping[str, bytes]]) -> None:
        """Announce the task types that a worker knows, if Redis answers."""
        with contextlib.suppress(Unreachable, Refused):
            self._here().client.announce(self.keys.task_types, entries_at, keep_seconds=SEEN_SECONDS)

    def announce_consumer(self, instance: str, entry_at: Callable[[int], bytes]) -> None:
        """Announce which task types and queues a worker instance consumes, if Redis answers."""
        with contextlib.suppress(Unreachable, Refused):
            self._here().client.announce(
                self.keys.consumers,
                lambda now: {instance: entry_at(now)},
                keep_seconds=CONSUMER_SECONDS,
            )

    def _here(self) -> _Process:
        process = self._process
        if process is not None and process.pid == os.getpid():
            return process
        if process is not None:
            # Just forked: a thread of the parent, which does not exist here, may have held the lock.
            self._starting = threading.Lock()
        with self._starting:
            if self._process is None or self._process.pid != os.getpid():
                self._process = _Process(self._connect())
            return self._process

    def _write(self, here: _Process, taken: _Taken) -> Noted:
        age_seconds = self._clock() - taken.at
        try:
            keys, args = note_call(taken.note, keys=self.keys, retention=self.retention, age_seconds=age_seconds)
        except (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            # A task id from a message may hold half a surrogate pair, for example.
            raise Refused(error) from error
        return here.client.note(keys, args)

    def _keep(self, here: _Process, taken: _Taken) -> None:
        """Buffer a note and make sure that a flusher runs; the caller holds the lock."""
        if len(here.buffer) >= self._buffer_limit:
            here.buffer.popleft()
            here.dropped += 1
        here.buffer.append(taken)
        if here.flusher is None:
            here.flusher = threading.Thread(
                target=self._flush_until_empty, args=(here,), name="task-status-flush", daemon=True
            )
            # At interpreter shutdown no thread can start; then `flush` at shutdown is the last attempt.
            with contextlib.suppress(RuntimeError):
                here.flusher.start()

    def _flush_until_empty(self, here: _Process) -> None:
        while True:
            time.sleep(self._flush_interval_seconds)
            try:
                self.flush()
            except Exception:
                # An error ends this thread for the life of the process otherwise, and nothing else writes the buffer.
                logger.exception("Cannot write the buffered records of tasks; trying again")
            with here.lock:
                if not here.buffer:
                    here.flusher = None
                    return
