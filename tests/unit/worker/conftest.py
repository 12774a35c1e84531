"""A record client that can be away, and recorders that write to it."""

from datetime import UTC, datetime
from typing import Any

import pytest
from support.clock import Clock
from support.record_client import FakeClient
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note, Noted
from task_status_worker.recorder import Recorder

#: a flush interval in seconds that is longer than any test
NEVER = 3_600.0


@pytest.fixture
def client() -> FakeClient:
    """Return a Redis that answers, with a canceled task."""
    client = FakeClient()
    client.records[Keys().record("canceled")] = {b"cancel_requested": b"1"}
    return client


@pytest.fixture
def clock() -> Clock:
    """Return a clock to move by hand."""
    return Clock()


def noted(*, cancel_requested: bool = False) -> Noted:
    """Return the answer of the fake to the first note of a task."""
    return Noted(
        advanced=True,
        seq=1,
        cancel_requested=cancel_requested,
        terminate=False,
        final=False,
        denial=None,
        at=datetime.fromtimestamp(7, UTC),
    )


def recorder_of(client: FakeClient, **options: Any) -> Recorder:
    """Return a recorder that writes its buffer only when a test calls `flush`."""
    options = {"flush_interval_seconds": NEVER, **options}
    return Recorder(lambda: client, keys=Keys(), retention=Retention(), **options)


def note(task_id: str) -> Note:
    """Return a note about a task."""
    return Note(task_id=task_id, fact=Fact.STARTED)
