"""The truth: what the tasks really did, appended by themselves to one file that no fault touches."""

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["started", "finished"]


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """Say that one execution of a task began, or came to its end and is about to return."""

    at: float
    task_id: str
    #: names the execution: one start by a worker
    run: str
    attempt: int
    pid: int
    what: What


def append(path: str, deed: Deed) -> None:
    """Append one line in a single write, which Linux does not mix with those of other processes (open(2), O_APPEND)."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, msgspec.json.encode(deed) + b"\n")
    finally:
        os.close(file)


def now() -> float:
    """Give the time by the clock that the history has too."""
    return time.monotonic()


def read_truth(path: Path) -> list[Deed]:
    """Read what was done so far, in the order in which it was."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Deed) for line in lines if line.endswith(b"\n")]
