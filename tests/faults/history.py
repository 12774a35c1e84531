"""The history: each answer to a client and each fault, with its time, as one JSON line.

Times are seconds of the monotonic clock, which all processes of a Linux machine share.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Operation = Literal[
    "submit", "read", "batch", "list", "wait", "watch", "event", "cancel", "retry", "forget", "ready", "live"
]


class SeenFailure(msgspec.Struct, frozen=True):
    """The kind of a failure."""

    kind: str


class StatusEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields of a status that a promise covers; decoding ignores the others."""

    id: str
    state: str
    done: bool
    successful: bool | None = None
    retries: int = 0
    executions: int = 0
    cancel_requested: bool = False
    liveness: str = "unknown"
    worker: str | None = None
    started_at: str | None = None
    result: Any = None
    failure: SeenFailure | None = None
    #: the whole status as JSON if it is done: it must not change any more
    whole: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer", tag_field="type"):
    """One answer of the service, or the error that occurred instead."""

    at: float
    ended: float
    operation: Operation
    #: HTTP status; None if there was no answer
    status: int | None = None
    error: str | None = None
    #: the `type` of a problem, without its path
    problem: str | None = None
    #: details of the errors that a problem lists
    faults: list[str] = []
    #: `store_epoch` and `warnings` of /readyz
    epoch: str | None = None
    warnings: list[str] = []
    #: whether it has `Retry-After`
    retry_after: bool = False
    task_id: str | None = None
    key: str | None = None
    terminate: bool = False
    replayed: bool = False
    #: the statuses that it contains
    seen: list[StatusEvent] = []
    #: the ids that it lists as missing
    missing: list[str] = []

    @property
    def seconds(self) -> float:
        return self.ended - self.at

    @property
    def accepted(self) -> StatusEvent | None:
        """Return the status of the task that this answer accepts; None if it accepts none."""
        wanted = self.operation in ("submit", "retry") and self.status in (200, 202)
        return self.seen[0] if wanted and self.seen else None


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fault", tag_field="type"):
    """One fault that the nemesis caused; `subject` names the process if there are several."""

    at: float
    what: str
    subject: str | None = None


Event = Answer | Fault


class Recorder:
    """A writer that appends events to a file; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=1 << 16)
        self._encoder = msgspec.json.Encoder()
        self._lock = threading.Lock()

    def write(self, event: Event) -> None:
        line = self._encoder.encode(event) + b"\n"
        with self._lock:
            self._file.write(line)

    def fault(self, what: str, subject: str | None = None) -> float:
        """Record a fault that happens now; return its time."""
        now = time.monotonic()
        self.write(Fault(at=now, what=what, subject=subject))
        return now

    def history(self) -> list[Event]:
        """Return all events so far, in the order in which they were recorded."""
        with self._lock:
            self._file.flush()
        return list(read_history(self.path))

    def close(self) -> None:
        with self._lock:
            self._file.close()


def read_history(path: Path) -> Iterator[Event]:
    """Read the events of a history file."""
    decoder = msgspec.json.Decoder(Answer | Fault)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
