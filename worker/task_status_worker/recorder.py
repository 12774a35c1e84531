"""The recorder: writes notes to Redis, and never makes a task fail or wait.

Rule 1: a note is one round trip, bounded by short timeouts and never retried in place.
Rule 2: what cannot be written goes into a bounded buffer; from then on nothing touches Redis but the flusher, so a dead
Redis costs a process one timeout and not one per note.
Rule 3: the notes of a process are written in the order in which they were taken, each with its age.
Rule 4: a question is asked at once or not at all. Without an answer, tasks run.
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
from task_status_worker.record.keys import SEEN_SECONDS, SERVING_SECONDS, Keys, Retention
from task_status_worker.record.model import Note, Noted

logger = logging.getLogger(__name__)

#: notes that one process keeps while Redis is away; the oldest go first
BUFFER_LIMIT: Final = 1_000

#: seconds between two attempts to write the buffer
FLUSH_INTERVAL_SECONDS: Final = 0.5

#: for how many seconds a Redis that did not answer a question is not asked another one
_SILENCE_SECONDS: Final = 1.0


class Unreachable(Exception):
    """Redis does not answer, or takes no writes at present: worth another attempt."""


class Refused(Exception):
    """Redis will not write this, now or later."""


class Flags(msgspec.Struct, frozen=True):
    """Say what a worker asks of a record before and while it runs the task."""

    #: the task is running
    running: bool = False
    #: the task has ended
    final: bool = False
    #: a cancel is recorded
    cancel_requested: bool = False
    #: ... that is to kill a run
    terminate: bool = False


class RecordClient(Protocol):
    """What the kit asks of Redis. Each call may raise `Unreachable` or `Refused`, and nothing else."""

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        """Run `NOTE_SCRIPT`."""
        ...

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        """Read the flags of some records, in their order; what cannot be read raises none."""
        ...

    def see_worker(self, key: str, instance: str) -> bool:
        """Write that a worker instance is there, and drop those that were not seen for a day; true if it is new."""
        ...

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        """Write the entries for the present second by Redis's clock, and drop those not refreshed for so long."""
        ...


class StatusEvent(enum.IntEnum):
    """Say whether Redis took the sign of life of a worker instance."""

    NO = 0
    AGAIN = 1
    #: the first, or Redis has lost what it knew
    NEW = 2


class _Taken(msgspec.Struct, frozen=True):
    """Hold a note until it can be written."""

    note: Note
    #: seconds by the recorder's clock
    at: float


class _Process:
    """The recorder's state in one process; a forked child gets its own, for the parent's locks may be held."""

    def __init__(self, client: RecordClient) -> None:
        self.pid = os.getpid()
        self.client = client
        #: guards all that follows
        self.lock = threading.Lock()
        self.buffer: deque[_Taken] = deque()
        self.dropped = 0
        #: until when Redis is not asked anything, in seconds by the recorder's clock
        self.silent_until = float("-inf")
        self.flusher: threading.Thread | None = None
        #: held by the one who writes the buffer
        self.flushing = threading.Lock()


class Recorder:
    """Write notes for one Celery app. Safe in threads, greenlets and after a fork; raises nothing."""

    def __init__(
        self,
        connect: Callable[[], RecordClient],
        *,
        keys: Keys,
        retention: Retention,
        clock: Callable[[], float] = time.monotonic,
        flush_interval_seconds: float = FLUSH_INTERVAL_SECONDS,
        buffer_limit: int = BUFFER_LIMIT,
    ) -> None:
        self.keys = keys
        self.retention = retention
        self._connect = connect
        self._clock = clock
        self._flush_interval_seconds = flush_interval_seconds
        self._buffer_limit = buffer_limit
        self._process: _Process | None = None
        self._starting = threading.Lock()

    @property
    def buffered(self) -> int:
        """Count the notes of this process that wait for Redis."""
        return len(self._here().buffer)

    def ask(self, note: Note, *, insists: bool = False) -> Noted | None:
        """Write a note now and give the answer; None if Redis does not take it, and then it is not kept.

        A Redis that is known to be away is not tried, unless the caller insists.
        """
        here = self._here()
        if here.buffer and not insists:
            return None
        try:
            return self._write(here, _Taken(note, self._clock()))
        except (Unreachable, Refused) as error:
            logger.warning("Redis does not say whether task %s may start: %s", note.task_id, error)
            return None

    def note(self, note: Note) -> Noted | None:
        """Write a note now, or keep it for later; None when it is kept or refused."""
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
                    logger.warning("Redis does not take the records of tasks, keeping them for later: %s", error)
                self._keep(here, taken)
        except Refused:
            logger.exception("Redis refused to record %s of task %s", note.fact, note.task_id)
        return None

    def keep(self, note: Note) -> None:
        """Keep a note for later that Redis has just not taken."""
        here = self._here()
        with here.lock:
            self._keep(here, _Taken(note, self._clock()))

    def flush(self) -> bool:
        """Write what is kept, oldest first, until Redis fails; true if nothing is left."""
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
                    logger.exception("Redis refused to record %s of task %s", taken.note.fact, taken.note.task_id)
                with here.lock:
                    # A note that is written stays in the buffer until then, so that later ones queue behind it.
                    if here.buffer[0] is taken:
                        here.buffer.popleft()
                    if not here.buffer:
                        logger.info("Redis takes the records of tasks again; %d were lost", here.dropped)
                        here.dropped = 0

    def flags(self, task_ids: Sequence[str]) -> list[Flags] | None:
        """Read the flags of some tasks, in their order; None if Redis does not answer, or has not just now."""
        here = self._here()
        if here.buffer or self._clock() < here.silent_until:
            return None
        try:
            return here.client.flags([self.keys.record(task_id) for task_id in task_ids])
        except (Unreachable, Refused) as error:
            here.silent_until = self._clock() + _SILENCE_SECONDS
            logger.warning("Redis does not tell which tasks are canceled or have ended, running them: %s", error)
            return None

    def see_worker(self, instance: str) -> StatusEvent:
        """Write that a worker instance is there."""
        try:
            return StatusEvent.NEW if self._here().client.see_worker(self.keys.workers, instance) else StatusEvent.AGAIN
        except (Unreachable, Refused):
            return StatusEvent.NO

    def announce(self, entries_at: Callable[[int], Mapping[str, bytes]]) -> None:
        """Write the task types that a worker knows, if Redis answers."""
        with contextlib.suppress(Unreachable, Refused):
            self._here().client.announce(self.keys.task_types, entries_at, keep_seconds=SEEN_SECONDS)

    def serve(self, instance: str, serving_at: Callable[[int], bytes]) -> None:
        """Write what a worker instance serves, if Redis answers."""
        with contextlib.suppress(Unreachable, Refused):
            self._here().client.announce(
                self.keys.serving, lambda now: {instance: serving_at(now)}, keep_seconds=SERVING_SECONDS
            )

    def _here(self) -> _Process:
        process = self._process
        if process is not None and process.pid == os.getpid():
            return process
        if process is not None:
            # Just forked: the lock of the parent may have been held by a thread that does not exist here.
            self._starting = threading.Lock()
        with self._starting:
            if self._process is None or self._process.pid != os.getpid():
                self._process = _Process(self._connect())
            return self._process

    def _write(self, here: _Process, taken: _Taken) -> Noted:
        age_seconds = self._clock() - taken.at
        keys, args = note_call(taken.note, keys=self.keys, retention=self.retention, age_seconds=age_seconds)
        return here.client.note(keys, args)

    def _keep(self, here: _Process, taken: _Taken) -> None:
        """Keep a note for later and see that someone will write it; the caller holds the lock."""
        if len(here.buffer) >= self._buffer_limit:
            here.buffer.popleft()
            here.dropped += 1
        here.buffer.append(taken)
        if here.flusher is None:
            here.flusher = threading.Thread(
                target=self._flush_until_empty, args=(here,), name="task-status-flush", daemon=True
            )
            # The interpreter may be on its way out; then `flush` at shutdown is the last attempt.
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
