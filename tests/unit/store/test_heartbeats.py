"""The heartbeats: who is silent and for how long, and above all who is not."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from task_status_service.status import LOST_SECONDS
from task_status_service.store.heartbeats import CONFIRM_SECONDS, PULSE_SECONDS, TOLD, WINDOW_SECONDS, Heartbeats
from task_status_worker.record.keys import Keys

#: what the store's clock says when this process's says 0
REDIS_TIME = 1_790_000_000.0
RUNNING = {b"fact": b"STARTED", b"instance": b"w@h/1"}
FORBIDDEN = RuntimeError("NOPERM this user has no permissions to run the 'info' command")


class World:
    """A store that answers a heartbeats, one instance and the clocks."""

    def __init__(self, **options):
        self.seconds = 0.0
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.workers = {b"w@h/1": REDIS_TIME}
        self.info = {"uptime_in_seconds": "100000", "run_id": "a", "role": "master", "maxmemory": "0"}
        self.epoch = b"2026-01-01T00:00:00Z/1"
        self.shift_seconds = 0.0
        self.heartbeats = Heartbeats(Keys(), clock=lambda: self.seconds, now=lambda: self.now, **options)

    def asked(self, **options):
        return self.heartbeats.commands(**options)

    def beat(self, *, after=0.0):
        """Let time pass, and hear what the store says then."""
        self.seconds += after
        at = REDIS_TIME + self.seconds + self.shift_seconds
        seen = [item for member, score in self.workers.items() for item in (member, str(score).encode())]
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


def test_at_most_once_a_second():
    """It asks for nothing as long as it has heard of late; and at once after the store was out of reach."""
    world = World()
    assert world.asked()
    assert not world.asked()
    world.seconds = PULSE_SECONDS - 0.01
    assert not world.asked()
    assert world.asked(at_once=True)
    world.seconds = 2 * PULSE_SECONDS
    assert world.asked()
    world.heartbeats.mark_unreachable()
    assert world.asked()


def test_asks_for_no_more_than_it_needs():
    """First for every instance there is, then for those of late; for an epoch to be set only where none is known."""
    world = World()
    first = world.asked()
    assert [command[0] for command in first] == ["SET", "TIME", "ZREVRANGEBYSCORE", "INFO", "GET"]
    assert first[0][1] == first[-1][1] == "task-status:epoch"
    assert first[0][3] == "NX"
    assert first[2][2:4] == ("+inf", "-inf")
    world.beat()
    again = world.asked(at_once=True)
    assert [command[0] for command in again] == ["TIME", "ZREVRANGEBYSCORE", "INFO", "GET"]
    assert again[1][2:4] == ("+inf", str(REDIS_TIME - WINDOW_SECONDS))


def test_silence_grows():
    """An instance that is not heard of any more is silent, from its last heartbeat on."""
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
def test_nothing_is_known(record):
    """Nobody is silent who does not run the task, or of whom the record does not know."""
    world = World()
    world.beat()

    assert world.heartbeats.seconds_since_heartbeat(record) is None


def test_nothing_is_known_before_the_first_pulse():
    """As long as nothing was heard, nobody is alive, and nobody lost."""
    assert World().silence() is None


def test_an_instance_that_is_new():
    """A start is a sign of life: its first heartbeat may come later, and later than the heartbeats that is at hand."""
    world = World()
    world.beat(after=1000)
    now_ms = int((REDIS_TIME + 1000) * 1000)
    assert world.silence(instance="w@h/2", started_at=now_ms + 500) == 0
    assert world.silence(instance="w@h/2", started_at=now_ms - 20_000) == 20
    assert world.silence(instance="w@h/2", started_at=now_ms - 20_000, progress_at=now_ms - 3_000) == 3
    assert world.silence(instance="w@h/2", started_at="broken") == LOST_SECONDS


def test_at_first_sight_it_may_have_been_an_outage():
    """A process that has slept through an outage finds everybody silent; who lives is heard of soon."""
    world = World()
    world.beat()
    world.beat(after=500)
    assert world.silence() == LOST_SECONDS
    world.workers = {b"w@h/1": REDIS_TIME + 501}
    world.beat(after=2)
    assert world.silence() == 1
    # It counts anew the next time.
    world.beat(after=500)
    assert world.silence() == LOST_SECONDS
    world.beat(after=CONFIRM_SECONDS)
    assert world.silence() > 500


def test_an_outage_makes_nobody_silent():
    """For as long as the store was out of reach, and up to now, nobody could be heard."""
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


def test_a_restart_makes_nobody_silent():
    """A store that was away when nobody asked was not up for long."""
    world = World()
    world.beat()
    world.info["uptime_in_seconds"] = "3"
    world.beat(after=40)
    assert world.silence() == 3
    # Another server that has been up for long, such as a replica that was made the master.
    world.info |= {"uptime_in_seconds": "100000", "run_id": "b"}
    world.beat(after=1)
    assert world.silence() == 0
    world.beat(after=5)
    assert world.silence() == 5


@pytest.mark.parametrize("jump_seconds", [3600.0, -3600.0])
def test_a_clock_that_jumps_makes_nobody_silent(jump_seconds):
    """Neither a clock that is set, nor a process that was suspended."""
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
def test_a_store_that_takes_no_heartbeats(info):
    """Nobody can be heard: nothing is known; and from then on as after an outage."""
    world = World()
    world.beat()
    usual = dict(world.info)
    world.info |= info
    world.beat(after=100)
    assert world.silence() is None
    world.info = usual
    world.beat(after=4)
    assert world.silence() == 4


def test_a_store_that_does_not_say():
    """Where INFO is forbidden, or says nothing that is needed, it goes on without."""
    for info in (FORBIDDEN, {}, {"uptime_in_seconds": "?", "maxmemory": "many"}):
        world = World()
        world.info = info
        world.beat(after=30)
        assert world.silence() == 30
        assert world.heartbeats.epoch == world.epoch.decode()


def test_a_store_that_says_nothing():
    """While it loads its data, or where everything is forbidden, nothing is known, and nothing breaks."""
    world = World()
    world.heartbeats.update([FORBIDDEN] * 5)

    assert (world.silence(), world.heartbeats.epoch, dict(world.heartbeats.info)) == (None, None, {})


def test_as_redis_py_parses_it():
    """A pipeline gives the same replies as other types."""
    world = World()
    info = {"uptime_in_seconds": 7, "run_id": "a", "role": "master"}
    world.heartbeats.update([(int(REDIS_TIME), 0), [[b"w@h/1", REDIS_TIME - 60.0]], info, b"e"])

    assert world.silence() == 7


def test_data_that_is_lost(caplog):
    """An epoch that is gone, or another one, is logged once, told for a day, and set anew."""
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
    assert world.asked(at_once=True)[0][0] == "SET"

    world.epoch = b"2026-01-02T03:04:08Z/2"
    world.beat(after=1)
    assert (world.heartbeats.epoch, len(caplog.records)) == ("2026-01-02T03:04:08Z/2", 1)
    world.epoch = b"2026-01-02T03:04:09Z/3"
    world.beat(after=1)
    assert len(caplog.records) == 2
    world.now += TOLD + timedelta(seconds=1)
    assert world.heartbeats.warnings == []


def test_the_epoch_says_since_when():
    """What is set names the time, and is not the same for two who set it."""
    first, second = (World().asked()[0][2] for _ in range(2))

    assert first.startswith("2026-01-02T03:04:05Z/")
    assert first != second


EVENTS = st.lists(
    st.tuples(st.sampled_from(["heartbeat", "outage", "restart", "unseen restart"]), st.floats(0, 300)),
    min_size=1,
    max_size=30,
)


@given(EVENTS)
def test_who_beats_is_never_stalled(events):
    """An instance that beats whenever it can is alive, also for who looks before the first beat after an outage."""
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


def test_who_is_lost_stays_lost():
    """However long it is asked for: it does not read as stalled again in between."""
    world = World()
    world.beat(after=LOST_SECONDS + 1)
    world.silence()
    for _ in range(150):
        world.beat(after=60)
        assert world.silence() == world.seconds


@given(st.lists(st.floats(0.1, 300), min_size=1, max_size=20))
@example([300.0] * 12 + [235.0])
def test_who_is_dead_is_found_so(gaps):
    """Whoever looks often enough finds an instance that has died lost, and for how long."""
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
