"""The heartbeat of a worker instance, and the announcement of its task types."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import pytest
from celery import Celery, signals
from celery.concurrency.base import BasePool
from support.record_client import FakeClient
from support.servers import wait_until
from task_status_worker import heartbeat
from task_status_worker.heartbeat import Heartbeat
from task_status_worker.record.keys import Keys
from task_status_worker.registry import Kit, kit_of, remember

from .conftest import NEVER, recorder_of

KEYS = Keys()


class Worker(NamedTuple):
    """A worker or its consumer, as sender of signals."""

    app: Celery
    hostname: str = "w@h"
    pool: BasePool = BasePool()


def nothing() -> None:
    """Do nothing."""


def put_announcements(client: FakeClient) -> None:
    """Store what an announcement of the instance stores."""
    client.hashes |= {KEYS.consumers: {"w@h/1": b"{}"}, KEYS.task_types: {"demo.add": b"{}"}}


@pytest.fixture
def beating(client: FakeClient) -> Iterator[Callable[..., Heartbeat]]:
    """Return a function that starts a heartbeat, which stops at the end of the test."""
    started: list[Heartbeat] = []
    put_announcements(client)

    def beat(**options: Any) -> Heartbeat:
        duties = dict.fromkeys(("terminate", "announce", "touch"), nothing)
        options = {**duties, "beat_seconds": 0.001, "retry_seconds": NEVER, **options}
        started.append(Heartbeat(recorder_of(client), "w@h/1", **options))
        started[-1].start()
        return started[-1]

    yield beat
    for each in started:
        each.stop()


def test_sends_heartbeats_and_announcements(client: FakeClient, beating: Callable[..., Heartbeat]) -> None:
    """Each heartbeat is sent, and every twelfth one announces the task types."""
    announced: list[int] = []
    beating(announce=lambda: announced.append(len(client.workers)))
    wait_until(lambda: len(announced) >= 3, what="three announcements")
    assert announced[:3] == [1, 13, 25]
    assert set(client.workers) == {"task-status:workers w@h/1"}


def test_announces_at_once_after_a_loss_of_data(client: FakeClient, beating: Callable[..., Heartbeat]) -> None:
    """The first heartbeat after a loss of data announces; otherwise no task could be submitted for up to a minute."""
    announced: list[int] = []
    beating(announce=lambda: announced.append(len(client.workers)))
    wait_until(lambda: len(client.workers) > 1, what="two beats")
    client.lose_data()
    wait_until(lambda: 1 in announced[1:], what="an announcement with the first beat that Redis knows of")


def test_announces_at_once_if_the_announcements_are_missing(
    client: FakeClient, beating: Callable[..., Heartbeat]
) -> None:
    """Each heartbeat announces until the announcements are stored: another program may delete or overwrite them."""
    announced: list[int] = []

    def announce() -> None:
        announced.append(len(client.workers))
        if len(announced) == 4:
            put_announcements(client)

    client.hashes.clear()
    beating(announce=announce)
    wait_until(lambda: len(announced) >= 5, what="five announcements")
    assert announced[:5] == [1, 2, 3, 4, 13]


def test_retries_a_rejected_heartbeat_early(client: FakeClient, beating: Callable[..., Heartbeat]) -> None:
    """A heartbeat that Redis rejects is retried early, and its duties wait until Redis answers."""
    announced: list[int] = []
    client.away = True
    beating(announce=lambda: announced.append(1), beat_seconds=NEVER, retry_seconds=0.001)
    wait_until(lambda: client.attempts > 3, what="some attempts")
    assert (client.workers, announced) == ([], [])
    client.away = False
    wait_until(lambda: announced, what="a beat")
    assert (len(client.workers), announced) == (1, [1])


@pytest.mark.parametrize("duty", ["announce", "terminate"])
def test_a_failed_duty_does_not_stop_the_heartbeat(
    client: FakeClient, beating: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture, duty: str
) -> None:
    """An error of a duty, such as an announcement, is logged, and further heartbeats are sent."""

    def fail() -> None:
        raise RuntimeError("author's code")

    beating(**{duty: fail})
    wait_until(lambda: len(client.workers) > 3, what="some beats")
    assert "author's code" in caplog.text


def test_an_unexpected_error_does_not_end_the_heartbeat(
    client: FakeClient, beating: Callable[..., Heartbeat], caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected error is logged, and the next heartbeat is sent."""
    client.broken = True
    beating(retry_seconds=0.001)
    wait_until(lambda: client.attempts > 2, what="some attempts")
    assert "Cannot send the heartbeat of worker instance w@h/1" in caplog.text
    client.broken = False
    wait_until(lambda: client.workers, what="a heartbeat")


def test_sends_heartbeats_from_ready_to_shutdown(client: FakeClient) -> None:
    """Each start of a worker sends heartbeats under a new instance name; an app without the kit sends none."""
    app: Any = Celery(broker="memory://", set_as_current=False)

    @app.task(name="known", shared=False)
    def known(x: int) -> int:
        return x

    heartbeat.connect()
    for signal in (signals.worker_init, signals.worker_ready):
        signal.send(sender=Worker(app))
    remember(app, Kit(recorder=recorder_of(client)))
    signals.worker_ready.send(sender=Worker(app))
    assert client.workers == [], "a worker that was not named does not run here"

    for starts in (1, 2):
        signals.worker_init.send(sender=Worker(app))
        for _ in range(2):
            signals.worker_ready.send(sender=Worker(app))
        wait_until(lambda: len(client.workers) == starts, what="a beat")  # noqa: B023  # called at once
        kit = kit_of(app)
        assert kit is not None
        assert client.workers[-1] == f"task-status:workers {kit.instance}"
        for _ in range(2):
            signals.worker_shutdown.send(sender=Worker(app))
    wait_until(lambda: "known" in client.announced, what="the announcement")
    assert msgspec.json.decode(client.announced["known"])["announced_at"] == 7
    wait_until(lambda: f"{kit.instance}" in client.announced, what="what the instance serves")
    assert msgspec.json.decode(client.announced[f"{kit.instance}"])["task_types"] == ["known"]
    assert len(set(client.workers)) == 2
    assert all(re.fullmatch(r"task-status:workers w@h/[0-9a-f]{8}", seen) for seen in client.workers)


def test_touches_its_file_while_redis_is_unreachable(client: FakeClient, beating: Callable[..., Heartbeat]) -> None:
    """A worker is alive while Redis is unreachable, also if its file cannot be written once."""
    client.away = True
    touched: list[int] = []

    def touch() -> None:
        touched.append(1)
        if len(touched) == 1:
            raise OSError("no space left")

    beating(touch=touch, retry_seconds=0.001)
    wait_until(lambda: len(touched) > 2, what="three touches")
