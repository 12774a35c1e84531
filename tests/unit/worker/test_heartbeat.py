"""The heartbeat: a worker is seen for as long as it lives, and its task types with it."""

from typing import Any, NamedTuple

import msgspec
import pytest
from celery import Celery, signals
from servers import wait_until
from task_status_worker import heartbeat
from task_status_worker.heartbeat import Heartbeat
from task_status_worker.kit import Kit, remember

from .conftest import FakeClient, note, recorder_of


class Consumer(NamedTuple):
    """What a worker is to the signals."""

    app: Celery
    hostname: str = "w@h"


def test_it_beats_and_announces_now_and_then(client: FakeClient) -> None:
    """Each beat says that the worker is there; the task types come a dozen times less often."""
    announced: list[int] = []
    beat = Heartbeat(recorder_of(client), "w@h", lambda: announced.append(len(client.workers)), beat_seconds=0.001)
    beat.start()
    wait_until(lambda: len(announced) >= 3, what="three announcements")
    beat.stop()
    assert announced[:3] == [1, 13, 25]
    assert set(client.workers) == {"task-status:workers w@h"}


def test_a_beat_writes_what_is_kept_first(client: FakeClient) -> None:
    """And says nothing of the worker while Redis does not take it."""
    recorder = recorder_of(client)
    client.away = True
    recorder.note(note("a"))
    beat = Heartbeat(recorder, "w@h", lambda: None, beat_seconds=0.001)
    beat.start()
    wait_until(lambda: client.attempts > 3, what="some beats")
    assert client.workers == []
    client.away = False
    wait_until(lambda: client.workers, what="a beat")
    beat.stop()
    assert client.ids == ["a"]


def test_a_beat_that_fails_is_not_the_last(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """What an author's code raises while it is announced is logged, and the worker stays alive."""

    def announce() -> None:
        raise RuntimeError("author's code")

    beat = Heartbeat(recorder_of(client), "w@h", announce, beat_seconds=0.001)
    beat.start()
    wait_until(lambda: len(client.workers) > 3, what="some beats")
    beat.stop()
    assert "author's code" in caplog.text


def test_a_worker_beats_from_ready_to_shutdown(client: FakeClient) -> None:
    """Each worker once; an app without the kit never."""
    app: Any = Celery(broker="memory://", set_as_current=False)

    @app.task(name="known", shared=False)
    def known(x: int) -> int:
        return x

    heartbeat.connect()
    signals.worker_ready.send(sender=Consumer(app))
    remember(app, Kit(recorder=recorder_of(client)))
    for _ in range(2):
        signals.worker_ready.send(sender=Consumer(app))
    wait_until(lambda: "known" in client.announced, what="the announcement")
    assert msgspec.json.decode(client.announced["known"])["announced_at"] == 7
    for _ in range(2):
        signals.worker_shutdown.send(sender=Consumer(app))
    assert client.workers == ["task-status:workers w@h"]
