"""A Redis as the recorder sees it, that comes and goes."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from support.note_model import read_args
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Denial, Fact, Note, Noted
from task_status_worker.recorder import Flags, Recorder, Refused, Unreachable

#: a flush interval, in seconds, that no test lives to see
NEVER = 3_600.0


class FakeClient:
    """Redis as the recorder sees it; `away` and `refuses` say how it fails."""

    def __init__(self) -> None:
        self.away = False
        self.refuses: set[str] = set()
        self.attempts = 0
        #: task id and age in milliseconds, as written
        self.written: list[tuple[str, int]] = []
        #: the facts, and whether they were questions
        self.facts: list[tuple[str, bool]] = []
        self.denial: Denial | None = None
        self.flags_of: dict[str, Flags] = {}
        self.workers: list[str] = []
        self.announced: dict[str, bytes] = {}

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        head, _ = read_args(args)
        task_id = head.id
        self._answer(task_id)
        self.written.append((task_id, head.age_ms))
        self.facts.append((head.fact, head.start is not None))
        return noted(cancel_requested=task_id == "canceled", denial=self.denial)

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        self._answer("flags")
        return [self.flags_of.get(key.rsplit(":", 1)[1], Flags()) for key in keys]

    def see_worker(self, key: str, instance: str) -> bool:
        self._answer(instance)
        seen = f"{key} {instance}"
        is_new = seen not in self.workers
        self.workers.append(seen)
        return is_new

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        self._answer(key)
        self.announced.update(entries_at(7))

    def _answer(self, name: str) -> None:
        self.attempts += 1
        if self.away:
            raise Unreachable("away")
        if name in self.refuses:
            raise Refused("no")

    @property
    def ids(self) -> list[str]:
        return [task_id for task_id, _ in self.written]


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client() -> FakeClient:
    """Give a Redis that answers."""
    return FakeClient()


@pytest.fixture
def clock() -> Clock:
    """Give a clock to move by hand."""
    return Clock()


def noted(*, cancel_requested: bool = False, denial: Denial | None = None) -> Noted:
    """Make the answer to a note."""
    return Noted(
        advanced=denial is None,
        seq=1,
        cancel_requested=cancel_requested,
        terminate=False,
        final=False,
        denial=denial,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def recorder_of(client: FakeClient, **options: Any) -> Recorder:
    """Make a recorder that flushes only when it is told to."""
    options = {"flush_interval_seconds": NEVER, **options}
    return Recorder(lambda: client, keys=Keys(), retention=Retention(), **options)


def note(task_id: str) -> Note:
    """Make any note about a task."""
    return Note(task_id=task_id, fact=Fact.STARTED)
