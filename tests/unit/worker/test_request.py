"""The Request class of the kit: when it reads the record, and how it applies the answer."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from support.record_client import FakeClient
from task_status_worker.recorder import Flags
from task_status_worker.registry import Kit, remember
from task_status_worker.request import StatusRequest

from .conftest import recorder_of


class CelerysRequest:
    """The used parts of Celery's Request, which log what Celery would do."""

    def __init__(self, app: Celery, task_name: str, *, expired: bool) -> None:
        self.app, self.type, self.name, self.id = app, task_name, task_name, "t"
        self._already_revoked = False
        self._expired = expired
        self.acknowledged = False
        self.message = SimpleNamespace(channel=None, acknowledged=True)

    def maybe_expire(self) -> bool:
        return self._expired

    def acknowledge(self) -> None:
        self.acknowledged = True

    def revoked(self) -> bool:
        return self._already_revoked or self.id in state.revoked or self._expired


class SomeRequest(StatusRequest, CelerysRequest):
    """A request of the worker, with the kit's class before Celery's."""


@pytest.fixture
def make(client: FakeClient) -> Iterator[Any]:
    """Return a function that makes a request of an app with the kit."""
    # Workers of other tests in this process may have left requests.
    state.reset_state()
    app = Celery(broker="memory://", set_as_current=False)
    remember(app, Kit(recorder=recorder_of(client)))

    def make(task_name: str = "some.task", *, expired: bool = False, reserved: bool = True) -> SomeRequest:
        made = SomeRequest(app, task_name, expired=expired)
        made.app = app  # held, because the kit is deleted with its app
        if reserved:
            state.task_reserved(made)
        return made

    yield make
    state.reset_state()


@pytest.mark.parametrize(
    ("flags", "revoked", "acknowledged"),
    [
        (Flags(), False, False),
        (Flags(cancel_requested=True), True, False),
        (Flags(final=True), True, True),
        (Flags(final=True, cancel_requested=True), True, True),
    ],
)
def test_reads_the_record_before_the_pool(
    client: FakeClient, make: Any, flags: Flags, revoked: bool, acknowledged: bool
) -> None:
    """One read decides: Celery discards a canceled task, and an ended one is only acknowledged."""
    client.flags_of = {"t": flags}
    request = make()
    assert (request.revoked(), request.acknowledged) == (revoked, acknowledged)
    assert client.attempts == 1
    assert ("t" in state.revoked) == (revoked and not acknowledged)
    assert ("t" in state.requests) != acknowledged
    assert (request.revoked(), client.attempts) == (revoked, 1 if acknowledged else 2)


def test_reads_the_record_on_receipt_if_the_task_would_be_discarded(client: FakeClient, make: Any) -> None:
    """Celery asks early for a task that can expire; the record is read only if the task would be discarded."""
    client.flags_of = {"t": Flags(final=True)}
    assert not make(reserved=False).revoked()
    assert client.attempts == 0
    request = make(reserved=False, expired=True)
    assert (request.revoked(), request.acknowledged, client.attempts) == (True, True, 1)
    state.revoked.add("t")
    request = make(reserved=False)
    assert (request.revoked(), request.acknowledged, client.attempts) == (True, True, 2)


def test_starts_without_flags(client: FakeClient, make: Any) -> None:
    """A task starts if Redis is unreachable. Celery's periodic tasks have no record."""
    client.flags_of = {"t": Flags(cancel_requested=True)}
    client.away = True
    assert not make().revoked()
    client.away = False
    assert not make("celery.chord_unlock").revoked()
    assert client.attempts == 1
