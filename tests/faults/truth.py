"""The truth: real starts and ends of the tasks, which append them to a file that no fault affects."""

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

What = Literal["started", "finished"]


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """The start of one execution of a task, or its end just before the return."""

    at: float
    task_id: str
    #: id of the execution
    run: str
    attempt: int
    pid: int
    what: What


def append(path: str, action: Action) -> None:
    """Append one line in a single write, which Linux keeps apart from other processes' writes (open(2), O_APPEND)."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, msgspec.json.encode(action) + b"\n")
    finally:
        os.close(file)


def now() -> float:
    """Return the time of the clock that the history also uses."""
    return time.monotonic()


def read_truth(path: Path) -> list[Action]:
    """Return all actions so far, in their order."""
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    return [msgspec.json.decode(line, type=Action) for line in lines if line.endswith(b"\n")]
