"""The heartbeats on a real Redis: it costs no trip, and what it tells of instances, lost tasks and the data is true."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from support.round_trips import SENT, counting_client
from support.servers import RedisServer, running_redis
from support.use_cases import create_tracker
from task_status_service.access.caller import ANYBODY
from task_status_service.errors import StoreUnavailable, TaskNotFound
from task_status_service.status import LOST_SECONDS, STALLED_SECONDS, Liveness, TaskState, decode
from task_status_service.store.feed import Feed
from task_status_service.store.heartbeats import Heartbeats
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.codec import unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys.under("app")
INSTANCE = "w@h/1"
STARTED = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance=INSTANCE)
FOR_LONG = LOST_SECONDS * 1.5


class Arranged:
    """A store and a tracker with a heartbeats on every trip, and the hands of a worker."""

    def __init__(self, url: str, *, results_url: str | None = None, heartbeats: Heartbeats | None = None) -> None:
        self.store = RedisStore(
            counting_client(url),
            results=connect_to(results_url, sentinel_master="") if results_url else None,
            keys=KEYS,
            retention=Retention(),
            heartbeats=heartbeats or Heartbeats(KEYS, interval_seconds=0.0, confirm_seconds=0.0),
        )
        self.hands = redis.Redis.from_url(url)
        self.results = redis.Redis.from_url(results_url or url)
        broker: Any = None  # nothing is sent here
        self.tracker = create_tracker(self.store, broker, final_states={}, lost_final_seconds=LOST_SECONDS)

    def start(self, *, ago: float = 0.0) -> None:
        """Start the task, and have its instance beat, some time ago and never since."""
        self.store.note(STARTED)
        self.beat(ago=ago)
        self.hands.hset(KEYS.record("t-1"), "started_at", int((time.time() - ago) * 1000))

    def beat(self, *, ago: float = 0.0) -> None:
        seconds, micros = self.hands.time()
        self.hands.zadd(KEYS.workers, {INSTANCE: seconds + micros / 1e6 - ago})

    def record(self) -> Any:
        return unpack(self.hands.hgetall(KEYS.record("t-1")))

    def close(self) -> None:
        self.store.close()
        self.hands.close()
        self.results.close()


@pytest.fixture
def old_url(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """Give the URL of a user who may not ask how long the server is up, so that silence counts from before that."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "plain", "on", ">word", "~*", "&*", "+@all", "-info", "-config")
    yield redis_url.replace("redis://", "redis://plain:word@")
    with redis_server.client() as client:
        client.execute_command("ACL", "DELUSER", "plain")


@pytest.fixture(params=["together", "elsewhere"])
def arranged(request: pytest.FixtureRequest, old_url: str) -> Iterator[Arranged]:
    """Give one with results in the same Redis, and one with results in another."""
    elsewhere = old_url.removesuffix("/0") + "/1" if request.param == "elsewhere" else None
    arranged = Arranged(old_url, results_url=elsewhere)
    yield arranged
    arranged.close()


def test_it_costs_no_trip(redis_url: str) -> None:
    """A read of one, and of many, is one trip with the heartbeats in it, and without."""
    for interval_seconds, pulses in ((0.0, 1), (1_000.0, 0)):
        arranged = Arranged(redis_url, heartbeats=Heartbeats(KEYS, interval_seconds=interval_seconds))
        store = arranged.store
        store.read("t-1")  # connects
        store.report()  # connects
        for use in (store.read, lambda task_id, store=store: list(store.read_many([task_id, "t-2"]))):
            SENT.clear()
            use("t-1")
            [sent] = SENT
            assert sent.count(b"ZREVRANGEBYSCORE") == sent.count(b"INFO") == pulses
        arranged.close()


@pytest.mark.parametrize(
    ("ago", "liveness"),
    [(0, Liveness.ALIVE), (STALLED_SECONDS + 1, Liveness.STALLED), (FOR_LONG, Liveness.LOST), (600, Liveness.LOST)],
)
def test_liveness(arranged: Arranged, ago: float, liveness: Liveness) -> None:
    """Read alone or with others, the status says when the instance was last heard of."""
    arranged.start(ago=ago)

    assert arranged.store.read("t-1").liveness is liveness
    assert [one.liveness for one in arranged.store.read_many(["t-1"])] == [liveness]


def test_a_server_that_is_young(tmp_path: Path) -> None:
    """After a restart nobody is silent for longer than the server is up."""
    with running_redis(tmp_path) as server:
        arranged = Arranged(server.url)
        arranged.start(ago=FOR_LONG)
        assert arranged.store.read("t-1").liveness is Liveness.ALIVE
        arranged.close()


def test_a_server_that_takes_no_heartbeats(redis_url: str) -> None:
    """While it is a replica, or full, nothing is known of any worker."""
    arranged = Arranged(redis_url)
    arranged.start()
    arranged.hands.replicaof("127.0.0.1", "1")
    try:
        assert arranged.store.read("t-1").liveness is Liveness.UNKNOWN
    finally:
        arranged.hands.replicaof("no", "one")
    assert arranged.store.read("t-1").liveness is Liveness.ALIVE
    arranged.hands.config_set("maxmemory", 1)
    try:
        assert arranged.store.read("t-1").liveness is Liveness.UNKNOWN
    finally:
        arranged.hands.config_set("maxmemory", 0)
        arranged.close()


def test_the_feed_tells(old_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches is told that a worker has fallen silent, though nothing is written."""
    monkeypatch.setattr("task_status_service.store.feed.REREAD_SECONDS", 0.2)
    arranged = Arranged(old_url)
    tracker = arranged.tracker
    feed = Feed(
        arranged.store.publishers,
        tracker.read_many,
        partial(tracker.version, caller=ANYBODY),
        keys=KEYS,
        limit=1,
        limit_per_caller=1,
    )
    arranged.start(ago=STALLED_SECONDS - 1)
    with feed.watch(["t-1"], caller="me") as watch:
        assert watch.changed(5) == {"t-1"}  # it may have changed before it was read for the first time
        assert arranged.store.read("t-1").liveness is Liveness.ALIVE
        assert watch.changed(5) == {"t-1"}
        assert arranged.store.read("t-1").liveness is Liveness.STALLED
    feed.close()
    arranged.close()


def test_lost_is_final(arranged: Arranged) -> None:
    """What was told to be lost stays so: neither its worker's notes nor Celery's result change it."""
    arranged.start(ago=FOR_LONG)

    status = decode(arranged.tracker.read("t-1", ANYBODY))

    assert (status.state, status.done, status.failure.kind) == (TaskState.FAILED, True, "worker_lost")
    assert arranged.record().final
    arranged.beat()
    for note in (STARTED, Note(task_id="t-1", fact=Fact.FINISHED, run="1", outcome="SUCCESS")):
        arranged.store.note(note)
    arranged.results.set(KEYS.meta("t-1"), json.dumps({"status": "SUCCESS", "result": 42, "task_id": "t-1"}))
    assert decode(arranged.tracker.read("t-1", ANYBODY)) == status
    assert [decode(one) for one in arranged.tracker.read_many(["t-1"])] == [status]
    assert arranged.record().late == 2


def test_many_settle_at_once(old_url: str) -> None:
    """Of several servers that find it lost at once, one notes it, and all tell the same."""
    servers = [Arranged(old_url) for _ in range(8)]
    servers[0].start(ago=FOR_LONG)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda one: decode(one.tracker.read("t-1", ANYBODY)), servers))

    assert told == [told[0]] * 8
    assert told[0].state is TaskState.FAILED
    assert (servers[0].record().seq, servers[0].record().late) == (2, 0)
    for server in servers:
        server.close()


def test_found_lost_and_moved_on(arranged: Arranged) -> None:
    """Between finding and noting, a note, a heartbeat or a result of Celery's: it is not settled."""
    note = Note(task_id="t-1", fact=Fact.FINISHED, outcome="FAILURE")

    def settles() -> bool:
        return bool(arranged.store.mark_failed(note, found, lost_after_seconds=LOST_SECONDS))

    for happens in (
        lambda: arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED, run="2", instance="w@h/2")),
        lambda: arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED, run="3", attempt=1, instance=INSTANCE)),
        lambda: arranged.store.note(Note(task_id="t-1", attempt=1, progress={"done": 1})),
        lambda: arranged.beat(ago=LOST_SECONDS / 2),
    ):
        arranged.beat(ago=FOR_LONG)
        found = arranged.store.read("t-1")
        happens()
        assert not settles()
    arranged.beat(ago=FOR_LONG)
    found = arranged.store.read("t-1")
    arranged.results.set(KEYS.meta("t-1"), b'{"status": "SUCCESS"}')
    # Where results are elsewhere, nothing is both looked at and written at once.
    assert settles() == (arranged.results.connection_pool.connection_kwargs["db"] == 1)


def test_settles_whatever_celery_has(arranged: Arranged) -> None:
    """What Celery has is compared as it was read: nothing, a text, a list."""
    for put in (
        lambda: None,
        lambda: arranged.results.set(KEYS.meta("t-1"), b'{"status": "STARTED"}' + b" " * 100_000),
        lambda: (arranged.results.delete(KEYS.meta("t-1")), arranged.results.rpush(KEYS.meta("t-1"), "a")),
    ):
        arranged.hands.delete(KEYS.record("t-1"))
        arranged.start(ago=FOR_LONG)
        put()
        found = arranged.store.read("t-1")
        note = Note(task_id="t-1", fact=Fact.FINISHED, outcome="FAILURE")
        assert arranged.store.mark_failed(note, found, lost_after_seconds=LOST_SECONDS)
        assert arranged.record().final


def test_the_epoch(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is set at the first contact, the same for all servers; when the data is lost it is another one, and told."""
    servers = [Arranged(redis_url) for _ in range(2)]
    for server in servers:
        server.store.note(STARTED)
        server.store.read("t-1")
    before, same = (server.store.report().epoch for server in servers)
    assert before == same == servers[0].hands.get(KEYS.epoch).decode()

    servers[0].hands.flushall()
    for server in servers:
        with pytest.raises(TaskNotFound):
            server.tracker.read("t-1", ANYBODY)
    after, same = (server.store.report().epoch for server in servers)
    assert before != after == same
    for server in servers:
        [warning] = server.store.report().warnings
        assert before in warning
        server.close()
    assert caplog.text.count("The store has lost its data") == 2


def test_a_restart_without_persistence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that comes back empty: 404 for what is gone, and it is told."""
    with running_redis(tmp_path) as server:
        arranged = Arranged(server.url)
        arranged.store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))
        assert arranged.tracker.read("t-1", ANYBODY).record
        server.stop()
        with pytest.raises(StoreUnavailable):
            arranged.tracker.read("t-1", ANYBODY)
        server.start()
        with pytest.raises(TaskNotFound):
            arranged.tracker.read("t-1", ANYBODY)
        assert "The store has lost its data" in caplog.text
        [warning] = arranged.store.report().durability_warnings
        assert "loses all data on a restart" in warning
        arranged.close()


def test_a_restart_with_persistence(tmp_path: Path) -> None:
    """A Redis that comes back with its data has the same epoch, and no weakness."""
    with running_redis(tmp_path, durable=True) as server:
        arranged = Arranged(server.url)
        before = arranged.store.report()
        server.stop()
        server.start()
        assert arranged.store.report() == before
        assert before.epoch is not None
        assert before.durability_warnings == before.warnings == []
        arranged.close()


def test_a_redis_that_does_not_tell(arranged: Arranged) -> None:
    """Where INFO and CONFIG are forbidden, that is said, and it is accused of nothing."""
    report = arranged.store.report()

    assert report.durability_warnings == []
    assert "INFO is forbidden" in report.warnings[0]
