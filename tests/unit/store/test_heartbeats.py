"""The silence of worker instances: silent ones are detected, and live ones are not mistaken for silent."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from task_status_service.status import LOST_SECONDS
from task_status_service.store.heartbeats import (
    CONFIRM_SECONDS,
    DATA_LOSS_WARNING,
    HEARTBEAT_READ_SECONDS,
    WINDOW_SECONDS,
    Heartbeats,
)
from task_status_worker.record.keys import Keys

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: the store's time when the clock of this process is 0
REDIS_TIME = NOW.timestamp()
RUNNING = {b"fact": b"STARTED", b"instance": b"w@h/1"}
FORBIDDEN = RuntimeError("NOPERM this user has no permissions to run the 'info' command")


class World:
    """A store with one worker instance, and the clocks."""

    def __init__(self, **options):
        self.seconds = 0.0
        self.now = NOW
        self.workers = {b"w@h/1": REDIS_TIME}
        self.info = {"uptime_in_seconds": "100000", "run_id": "a", "role": "master", "maxmemory": "0"}
        self.epoch = b"2026-01-01T00:00:00Z/1"
        self.shift_seconds = 0.0
        self.has_more = False
        self.heartbeats = Heartbeats(Keys(), clock=lambda: self.seconds, now=self.time, **options)

    def time(self):
        return self.now + timedelta(seconds=self.seconds)

    def commands(self, **options):
        return self.heartbeats.commands(**options)

    def beat(self, *, after=0.0):
        """Let time pass, then read the heartbeats."""
        self.seconds += after
        at = REDIS_TIME + self.seconds + self.shift_seconds
        newest = str(max(self.workers.values())).encode() if self.workers else None
        pairs = [item for member, score in self.workers.items() for item in (member, str(score).encode())]
        seen = [newest, int(self.has_more), *pairs]
        self.heartbeats.commands(at_once=True)
        time_ = [str(int(at)).encode(), str(int(at % 1 * 1e6)).encode()]
        info = self.info if isinstance(self.info, Exception) else self.raw_info()
        self.heartbeats.update([time_, seen, info, self.epoch])

    def raw_info(self):
        lines = [f"{name}:{fact}" for name, fact in self.info.items()]
        return ("# Server\r\n" + "\r\n".join(lines) + "\r\n").encode()

    def silence(self, **fields):
        packed = {name.encode(): str(value).encode() for name, value in fields.items()}
        return self.heartbeats.seconds_since_heartbeat(RUNNING | packed)


def test_heartbeats_are_read_at_most_once_a_second():
    """Heartbeats are read at most once a second, and immediately after the store was unreachable."""
    world = World()
    assert world.commands()
    assert not world.commands()
    world.seconds = HEARTBEAT_READ_SECONDS - 0.01
    assert not world.commands()
    assert world.commands(at_once=True)
    world.seconds = 2 * HEARTBEAT_READ_SECONDS
    assert world.commands()
    world.heartbeats.mark_unreachable()
    assert world.commands()


def test_later_reads_are_limited_to_the_window():
    """The first read covers all instances, later ones the window; an epoch is set only if it is unknown."""
    world = World()
    first = world.commands()
    assert [command[0] for command in first] == ["SET", "TIME", "EVAL", "INFO", "GET"]
    assert first[0][1] == first[-1][1] == "task-status:epoch"
    assert first[0][3] == "NX"
    assert json.loads(first[2][4])["since"] == "-inf"
    world.beat()
    again = world.commands(at_once=True)
    assert [command[0] for command in again] == ["TIME", "EVAL", "INFO", "GET"]
    assert json.loads(again[1][4])["since"] == str(REDIS_TIME - WINDOW_SECONDS)


def test_silence_starts_at_the_last_heartbeat():
    """The silence of an instance is the time since its last heartbeat."""
    world = World()
    for _ in range(70):
        world.beat(after=1)
        assert world.silence() == min(world.seconds, LOST_SECONDS)
    world.beat(after=CONFIRM_SECONDS)
    assert world.silence() == world.seconds
    world.workers = {}
    world.beat(after=1)
    assert world.silence() > WINDOW_SECONDS


@pytest.mark.parametrize(
    "record",
    [
        {},
        {b"fact": b"STARTED"},
        {b"fact": b"RECEIVED", b"instance": b"w@h/1"},
        {b"fact": b"FINISHED", b"instance": b"w@h/1"},
    ],
)
def test_silence_is_unknown_unless_a_known_instance_runs_the_task(record):
    """Silence is None if the task is not running, or if its record names no instance."""
    world = World()
    world.beat()

    assert world.heartbeats.seconds_since_heartbeat(record) is None


def test_silence_is_unknown_before_the_first_read():
    """Silence is None before the first read of the heartbeats."""
    assert World().silence() is None


def test_a_start_or_progress_ends_silence():
    """A start or progress proves liveness, because the first heartbeat may be later than the last read."""
    world = World()
    world.beat(after=1000)
    now_ms = int((REDIS_TIME + 1000) * 1000)
    assert world.silence(instance="w@h/2", started_at=now_ms + 500) == 0
    assert world.silence(instance="w@h/2", started_at=now_ms - 20_000) == 20
    assert world.silence(instance="w@h/2", started_at=now_ms - 20_000, progress_at=now_ms - 3_000) == 3
    assert world.silence(instance="w@h/2", started_at="broken") == LOST_SECONDS


def test_a_lost_instance_is_confirmed_before_it_is_reported():
    """On first detection the silence is capped: after an outage, a live instance sends its heartbeat soon."""
    world = World()
    world.beat()
    world.beat(after=500)
    assert world.silence() == LOST_SECONDS
    world.workers = {b"w@h/1": REDIS_TIME + 501}
    world.beat(after=2)
    assert world.silence() == 1
    # The next detection is capped again.
    world.beat(after=500)
    assert world.silence() == LOST_SECONDS
    world.beat(after=CONFIRM_SECONDS)
    assert world.silence() > 500


def test_an_outage_does_not_add_to_silence():
    """Time in which the store was unreachable does not add to the silence."""
    world = World()
    world.beat()
    for _ in range(20):
        world.seconds += 1
        world.heartbeats.mark_unreachable()
    assert world.silence() == 0
    world.beat(after=2)
    assert world.silence() == 2
    world.beat(after=13)
    assert world.silence() == 15


def test_silence_is_limited_to_the_uptime_of_the_store():
    """Silence is not longer than the uptime of the store, or the time since the server was replaced."""
    world = World()
    world.beat()
    world.info["uptime_in_seconds"] = "3"
    world.beat(after=40)
    assert world.silence() == 3
    # Another server with a long uptime, such as a promoted replica.
    world.info |= {"uptime_in_seconds": "100000", "run_id": "b"}
    world.beat(after=1)
    assert world.silence() == 0
    world.beat(after=5)
    assert world.silence() == 5


@pytest.mark.parametrize("jump_seconds", [3600.0, -3600.0])
def test_a_clock_jump_resets_silence(jump_seconds):
    """A changed clock, or a suspended process, makes no instance silent."""
    world = World()
    world.beat()
    world.shift_seconds = jump_seconds
    world.beat(after=1)
    assert world.silence() == 0


@pytest.mark.parametrize(
    "info",
    [
        {"role": "slave"},
        {"maxmemory": "100", "used_memory": "100", "maxmemory_policy": "noeviction"},
        {"aof_last_write_status": "err"},
    ],
)
def test_silence_is_unknown_while_the_store_rejects_writes(info):
    """While the store rejects writes, silence is None; then it starts again as after an outage."""
    world = World()
    world.beat()
    usual = dict(world.info)
    world.info |= info
    world.beat(after=100)
    assert world.silence() is None
    world.info = usual
    world.beat(after=4)
    assert world.silence() == 4


def test_silence_is_known_without_info():
    """Silence is computed even if INFO is forbidden or lacks the needed fields."""
    for info in (FORBIDDEN, {}, {"uptime_in_seconds": "?", "maxmemory": "many"}):
        world = World()
        world.info = info
        world.beat(after=30)
        assert world.silence() == 30
        assert world.heartbeats.epoch == world.epoch.decode()


def test_error_replies_make_everything_unknown():
    """If every command fails, as while Redis loads its data, all values are unknown and no error is raised."""
    world = World()
    world.heartbeats.update([FORBIDDEN] * 5)

    assert (world.silence(), world.heartbeats.epoch, dict(world.heartbeats.info)) == (None, None, {})


def test_replies_parsed_by_redis_py_are_accepted():
    """Replies of a redis-py pipeline, which have other types, are accepted."""
    world = World()
    info = {"uptime_in_seconds": 7, "run_id": "a", "role": "master"}
    world.heartbeats.update([(int(REDIS_TIME), 0), [b"1", 0, b"w@h/1", str(REDIS_TIME - 60.0).encode()], info, b"e"])

    assert world.silence() == 7


def test_a_data_loss_is_logged_once_and_reported_for_a_day(caplog):
    """A missing or changed epoch is logged once and reported for a day; a missing one is set again."""
    world = World()
    world.beat()
    assert world.heartbeats.warnings == []
    world.epoch = None
    for _ in range(3):
        world.beat(after=1)
    assert len(caplog.records) == 1
    assert "The store has lost its data" in caplog.text
    [warning] = world.heartbeats.warnings
    assert "2026-01-01T00:00:00Z/1" in warning
    assert world.commands(at_once=True)[0][0] == "SET"

    world.epoch = b"2026-01-02T03:04:08Z/2"
    world.beat(after=1)
    assert (world.heartbeats.epoch, len(caplog.records)) == ("2026-01-02T03:04:08Z/2", 1)
    world.epoch = b"2026-01-02T03:04:09Z/3"
    world.beat(after=1)
    assert len(caplog.records) == 2
    world.now += DATA_LOSS_WARNING + timedelta(seconds=1)
    assert world.heartbeats.warnings == []


def test_an_epoch_contains_the_time_and_is_unique():
    """An epoch contains its time, and two processes create different ones."""
    first, second = (World().commands()[0][2] for _ in range(2))

    assert first.startswith("2026-01-02T03:04:05Z/")
    assert first != second


EVENTS = st.lists(
    st.tuples(st.sampled_from(["heartbeat", "outage", "restart", "unseen restart"]), st.floats(0, 300)),
    min_size=1,
    max_size=30,
)


@given(EVENTS)
def test_an_instance_with_heartbeats_is_never_stalled(events):
    """An instance that sends heartbeats when it can is alive, even before its first one after an outage."""
    world = World()
    world.beat()
    for event, seconds in events:
        if event == "heartbeat":
            world.workers[b"w@h/1"] = REDIS_TIME + world.seconds + min(seconds, 5.0) / 2
            world.beat(after=min(seconds, 5.0))
        else:
            world.seconds += seconds
            if event != "unseen restart":
                world.heartbeats.mark_unreachable()
            if event != "outage":
                world.info |= {"uptime_in_seconds": "0", "run_id": str(world.seconds)}
            world.beat()
            world.workers[b"w@h/1"] = REDIS_TIME + world.seconds
        assert 0 <= world.silence() <= 5.001


def test_a_lost_instance_stays_lost():
    """A lost instance does not read as stalled again, however long its silence is."""
    world = World()
    world.beat(after=LOST_SECONDS + 1)
    world.silence()
    for _ in range(150):
        world.beat(after=60)
        assert world.silence() == world.seconds


@given(st.lists(st.floats(0.1, 300), min_size=1, max_size=20))
@example([300.0] * 12 + [235.0])
def test_a_dead_instance_is_detected(gaps):
    """A dead instance is detected as lost, with the exact silence, if it is queried often enough."""
    world = World()
    for gap in gaps:
        world.beat(after=gap)
        world.silence()
    world.beat(after=LOST_SECONDS)
    world.silence()
    world.beat(after=CONFIRM_SECONDS + 1)
    silence = world.silence()
    assert silence is not None
    assert math.isclose(silence, world.seconds, abs_tol=0.001)
