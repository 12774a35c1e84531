"""Termination of executions whose cancel requests it, on pools that can terminate."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.concurrency.base import BasePool
from celery.concurrency.gevent import TaskPool as GeventPool
from celery.concurrency.solo import TaskPool as SoloPool
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.worker import state
from support.record_client import FakeClient
from task_status_worker.recorder import Flags
from task_status_worker.termination import terminate_canceled

from .conftest import recorder_of

TO_BE_TERMINATED = Flags(cancel_requested=True, terminate=True)


class SomePool(BasePool):
    """A pool that can terminate."""

    def terminate_job(self, pid: int, signal: int | None = None) -> None: ...


class SomeRequest:
    """A request as the worker's state holds it."""

    def __init__(self, task_id: str, terminated: list[str]) -> None:
        self.id = self.name = task_id
        self._terminated = terminated

    def terminate(self, pool: BasePool) -> None:
        if self.id == "broken":
            raise OSError("no such process")
        self._terminated.append(self.id)


class SomeConsumer:
    """A consumer whose main loop runs when the test calls it."""

    def __init__(self, pool: BasePool) -> None:
        self.pool = pool
        self.soon: list[tuple[Callable[..., None], Any]] = []

    def call_soon(self, function: Callable[..., None], *args: Any) -> None:
        self.soon.append((function, args))

    def loop(self) -> None:
        for function, args in self.soon:
            function(*args)


@pytest.fixture
def active() -> Iterator[Callable[..., list[str]]]:
    """Return a function that makes tasks active and returns the list of terminated ones."""
    terminated: list[str] = []
    requests: list[Any] = []

    def run(*task_ids: str) -> list[str]:
        requests.extend(SomeRequest(task_id, terminated) for task_id in task_ids)
        for request in requests:
            state.task_accepted(request)
        return terminated

    yield run
    state.reset_state()


def test_terminates_executions_whose_cancel_requests_it(client: FakeClient, active: Callable[..., list[str]]) -> None:
    """Only an unfinished task whose cancel requests termination is terminated, by the main loop."""
    terminated = active("free", "canceled", "killed", "ended")
    client.flags_of = {
        "canceled": Flags(cancel_requested=True),
        "killed": TO_BE_TERMINATED,
        "ended": Flags(final=True, cancel_requested=True, terminate=True),
    }
    consumer = SomeConsumer(SomePool())
    terminate_canceled(consumer, recorder_of(client))
    assert (client.attempts, terminated) == (1, [])
    consumer.loop()
    assert terminated == ["killed"]


def test_does_not_terminate_an_ended_task(client: FakeClient, active: Callable[..., list[str]]) -> None:
    """A task that has ended meanwhile is not terminated, because its process may execute another task."""
    terminated = active("killed")
    client.flags_of = {"killed": TO_BE_TERMINATED}
    consumer = SomeConsumer(SomePool())
    terminate_canceled(consumer, recorder_of(client))
    state.task_ready(state.requests["killed"])
    consumer.loop()
    assert terminated == []


def test_one_that_cannot_be_terminated_does_not_end_the_worker(
    client: FakeClient, active: Callable[..., list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """An error of the termination is logged; in the main loop it would end the worker."""
    terminated = active("broken", "killed")
    client.flags_of = {"broken": TO_BE_TERMINATED, "killed": TO_BE_TERMINATED}
    consumer = SomeConsumer(SomePool())
    terminate_canceled(consumer, recorder_of(client))
    consumer.loop()
    assert terminated == ["killed"]
    assert "no such process" in caplog.text


@pytest.mark.parametrize(("away", "task_ids"), [(True, ["killed"]), (False, [])])
def test_terminates_nothing_without_flags(
    client: FakeClient, active: Callable[..., list[str]], away: bool, task_ids: list[str]
) -> None:
    """Nothing is terminated if Redis is unreachable, and nothing is read if no task is active."""
    active(*task_ids)
    client.flags_of, client.away = {"killed": TO_BE_TERMINATED}, away
    consumer = SomeConsumer(SomePool())
    terminate_canceled(consumer, recorder_of(client))
    assert (consumer.soon, client.attempts) == ([], len(task_ids))


@pytest.mark.parametrize(
    ("pool", "can"), [(SoloPool, False), (ThreadPool, False), (GeventPool, True), (SomePool, True)]
)
def test_does_not_call_a_pool_that_cannot_terminate(
    client: FakeClient, active: Callable[..., list[str]], pool: type[BasePool], can: bool
) -> None:
    """A pool that cannot terminate is not called; its tasks learn of a cancel by `report`."""
    active("killed")
    client.flags_of = {"killed": TO_BE_TERMINATED}
    consumer = SomeConsumer(pool(limit=1))
    terminate_canceled(consumer, recorder_of(client))
    assert len(consumer.soon) == can
