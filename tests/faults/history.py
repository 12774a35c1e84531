"""The history: every answer that a client got, with its time, and every fault that was made, one JSON line each.

Times are seconds of the monotonic clock, which on Linux is one for all processes of a machine.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

Operation = Literal["submit", "read", "batch", "cancel", "retry", "forget", "ready", "live"]


class SeenFailure(msgspec.Struct, frozen=True):
    """Hold the kind of a failure."""

    kind: str


class StatusEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what a status said, as far as a promise is about it; decodes the wire shape and drops the rest."""

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
    #: the whole status, once it is done: nothing of it may change any more
    whole: str | None = None


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="answer", tag_field="type"):
    """Hold one answer, or what came instead."""

    at: float
    ended: float
    operation: Operation
    #: HTTP's; None if there was no answer
    status: int | None = None
    error: str | None = None
    #: the `type` of a problem, without its path
    problem: str | None = None
    #: what a problem says is wrong, one by one
    faults: list[str] = []
    #: what /readyz says besides: since when the store has kept its data, and what an operator should know
    epoch: str | None = None
    warnings: list[str] = []
    #: it says when to ask again
    retry_after: bool = False
    task_id: str | None = None
    key: str | None = None
    terminate: bool = False
    replayed: bool = False
    #: the statuses that it carried
    seen: list[StatusEvent] = []
    #: ids that it said nothing is stored of
    missing: list[str] = []

    @property
    def seconds(self) -> float:
        return self.ended - self.at

    @property
    def accepted(self) -> StatusEvent | None:
        """Give the task that this answer promises to exist."""
        wanted = self.operation in ("submit", "retry") and self.status in (200, 202)
        return self.seen[0] if wanted and self.seen else None


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="fault", tag_field="type"):
    """Hold one thing that the nemesis did; `subject` names the process where there are several."""

    at: float
    what: str
    subject: str | None = None


Event = Answer | Fault


class Recorder:
    """Append events to a file; safe in threads, which share one."""

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
        """Record a fault that is made now; give the time."""
        now = time.monotonic()
        self.write(Fault(at=now, what=what, subject=subject))
        return now

    def history(self) -> list[Event]:
        """Give all that was recorded so far, in the order in which it ended."""
        with self._lock:
            self._file.flush()
        return list(read_history(self.path))

    def close(self) -> None:
        with self._lock:
            self._file.close()


def read_history(path: Path) -> Iterator[Event]:
    """Read a history back."""
    decoder = msgspec.json.Decoder(Answer | Fault)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
