"""The recorder with an unreliable Redis: order, bounds and ages of notes, and no exceptions."""

import logging
import os

import pytest
from support.clock import Clock
from support.record_client import FakeClient
from support.servers import wait_until
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.recorder import MAX_FAILURES, Flags, Recorder

from .conftest import NEVER, note, noted, recorder_of


def test_a_note_is_written_at_once(client: FakeClient) -> None:
    """A note is one call, and its answer is returned."""
    recorder = recorder_of(client)
    assert recorder.note(note("canceled")) == noted(cancel_requested=True)
    assert (client.attempts, client.ids, recorder.buffered) == (1, ["canceled"], 0)


def test_an_outage_costs_one_attempt(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """After the first failure notes are buffered without using Redis, and one line is logged."""
    recorder = recorder_of(client)
    client.away = True
    assert [recorder.note(note(str(n))) for n in range(50)] == [None] * 50
    assert (client.attempts, recorder.buffered) == (1, 50)
    assert len(caplog.records) == 1


def test_kept_notes_are_written_in_order_with_their_age(client: FakeClient, clock: Clock) -> None:
    """Notes queue behind buffered ones, so that the facts of a task keep their order, each with its age."""
    recorder = recorder_of(client, clock=clock)
    client.away = True
    recorder.note(note("a"))
    clock.now += 2
    client.away = False
    recorder.note(note("b"))
    clock.now += 1
    assert client.written == []

    assert recorder.flush()
    assert client.written == [("a", 3000), ("b", 1000)]
    recorder.note(note("c"))
    assert client.written[-1] == ("c", 0)


def test_a_flush_that_fails_loses_nothing(client: FakeClient) -> None:
    """A note that a flush cannot write stays the first of the buffer."""
    recorder = recorder_of(client)
    client.away = True
    recorder.note(note("a"))
    recorder.note(note("b"))
    assert not recorder.flush()
    client.away = False
    assert recorder.flush()
    assert client.ids == ["a", "b"]


def test_the_buffer_is_bounded(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """A full buffer drops its oldest notes, and their number is logged once Redis is back."""
    caplog.set_level(logging.INFO)
    recorder = recorder_of(client, buffer_limit=3)
    client.away = True
    for n in range(10):
        recorder.note(note(str(n)))
    client.away = False
    assert recorder.flush()
    assert client.ids == ["7", "8", "9"]
    assert "7 were lost" in caplog.text


def test_drops_a_note_that_redis_rejects(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """A note that Redis rejects is dropped, because it would block all notes behind it."""
    recorder = recorder_of(client)
    client.refuses = {"bad"}
    assert recorder.note(note("bad")) is None
    assert recorder.buffered == 0

    client.away = True
    for name in ("a", "bad", "b"):
        recorder.note(note(name))
    client.away = False
    assert recorder.flush()
    assert client.ids == ["a", "b"]
    assert caplog.text.count("refused to record STARTED of task 'bad'") == 2


@pytest.mark.parametrize("task_id", ["\ud800", "x" * 256, "a\0b", ""], ids=ascii)
def test_drops_a_note_whose_id_cannot_be_part_of_a_key(
    client: FakeClient, caplog: pytest.LogCaptureFixture, task_id: str
) -> None:
    """A task id that is no text, too long or has control characters neither raises nor blocks the notes behind it."""
    recorder = recorder_of(client)
    assert recorder.note(note(task_id)) is None
    recorder.keep(note(task_id))
    recorder.keep(note("a"))
    assert recorder.flush()
    assert client.ids == ["a"]
    assert caplog.text.count("refused to record STARTED") == 2


def test_a_note_that_always_fails_is_dropped(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """A note whose write raises an unexpected error is dropped after some attempts, and the others are written."""
    recorder = recorder_of(client)
    recorder.keep(note("a"))
    recorder.keep(note("bad"))
    recorder.keep(note("b"))
    client.breaks = {"bad"}
    for _ in range(MAX_FAILURES - 1):
        with pytest.raises(RuntimeError):
            recorder.flush()
    assert recorder.flush()
    assert client.ids == ["a", "b"]
    assert "Cannot record STARTED of task 'bad': dropped" in caplog.text


def test_a_thread_writes_the_buffer(client: FakeClient) -> None:
    """A thread writes buffered notes without a further call, also after a second outage."""
    recorder = recorder_of(client, flush_interval_seconds=0.01)
    for name in ("a", "b"):
        client.away = True
        recorder.note(note(name))
        client.away = False
        wait_until(lambda: recorder.buffered == 0, what="the flusher")
    assert client.ids == ["a", "b"]


def test_an_unexpected_error_does_not_end_the_flusher(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """An unexpected error is logged, and the thread goes on to the notes behind."""
    recorder = recorder_of(client, flush_interval_seconds=0.001)
    client.breaks = {"bad"}
    recorder.keep(note("bad"))
    recorder.keep(note("a"))
    wait_until(lambda: recorder.buffered == 0, what="the flusher")
    assert "Cannot write the buffered records of tasks" in caplog.text
    assert client.ids == ["a"]


def test_a_forked_child_starts_with_its_own(client: FakeClient) -> None:
    """A forked child has its own client and buffer; it does not write the notes of its parent."""
    clients: list[FakeClient] = []

    def connect() -> FakeClient:
        clients.append(FakeClient() if clients else client)
        return clients[-1]

    recorder = Recorder(connect, keys=Keys(), retention=Retention(), flush_interval_seconds=NEVER)
    client.away = True
    recorder.note(note("parent"))

    child = os.fork()
    if child == 0:
        noted = recorder.note(note("child"))
        os._exit(0 if noted is not None and len(clients) == 2 and clients[1].ids == ["child"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (recorder.buffered, len(clients)) == (1, 1)


def test_a_start_request_is_never_buffered(client: FakeClient, caplog: pytest.LogCaptureFixture) -> None:
    """A start request is never buffered, and while notes are buffered it is only sent if the caller insists."""
    recorder = recorder_of(client)
    assert recorder.ask(note("canceled")) == noted(cancel_requested=True)
    client.away = True
    assert recorder.ask(note("a")) is None
    assert (recorder.buffered, client.attempts) == (0, 2)
    assert "may start" in caplog.text

    recorder.keep(note("b"))
    assert (recorder.ask(note("a")), client.attempts) == (None, 2)
    assert (recorder.ask(note("a"), insists=True), client.attempts) == (None, 3)
    client.away = False
    assert recorder.ask(note("a"), insists=True) == noted()
    assert recorder.flush()
    assert client.ids == ["canceled", "a", "b"]


def test_flags(client: FakeClient, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """Flags are read in one call; after a failure they are not read for a second, nor while notes are buffered."""
    recorder = recorder_of(client, clock=clock)
    canceled = client.flags_of["b"] = Flags(cancel_requested=True)
    assert recorder.flags(["a", "b"]) == [Flags(), canceled]

    client.away = True
    assert [recorder.flags(["b"]) for _ in range(5)] == [None] * 5
    assert client.attempts == 2
    assert "running them" in caplog.text
    client.away = False
    clock.now += 1
    assert recorder.flags(["b"]) == [canceled]

    client.away = True
    recorder.note(note("t"))
    client.away = False
    assert recorder.flags(["b"]) is None
    assert recorder.flush()
    assert recorder.flags(["b"]) == [canceled]


def test_heartbeats_and_announcements_are_not_buffered(client: FakeClient) -> None:
    """Heartbeats and announcements are written if Redis answers, and dropped otherwise."""
    recorder = recorder_of(client)
    assert recorder.see_worker("w@h")
    recorder.announce(lambda now: {"demo.add": b'{"announced_at":%d}' % now})
    assert (client.workers, client.announced) == (["task-status:workers w@h"], {"demo.add": b'{"announced_at":7}'})

    client.away = True
    assert not recorder.see_worker("w@h")
    recorder.announce(lambda _: {})
    assert len(client.workers) == 1
