"""The heartbeats on a real Redis: liveness, lost tasks and lost data, read without another round trip."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from support.round_trips import SENT, counting_client
from support.servers import RedisServer, running_redis
from support.use_cases import create_tracker
from task_status_service.access.caller import ANYBODY
from task_status_service.access.watch_limits import Places
from task_status_service.errors import StoreUnavailable, TaskNotFound
from task_status_service.status import LOST_SECONDS, STALLED_SECONDS, Liveness, TaskState, decode
from task_status_service.store.feed import Feed
from task_status_service.store.heartbeats import MAX_INSTANCES, MAX_NAME_BYTES, Heartbeats
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.codec import FIELDS, named, unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys.under("app")
INSTANCE = "w@h/1"
STARTED = Note(task_id="t-1", fact=Fact.STARTED, run="1", instance=INSTANCE)
BEYOND_LOST_SECONDS = LOST_SECONDS * 1.5


class StoreWithHeartbeats:
    """A store and a tracker that read the heartbeats in every round trip, and raw access to their Redis."""

    def __init__(self, url: str, *, results_url: str | None = None, heartbeats: Heartbeats | None = None) -> None:
        self.store = RedisStore(
            counting_client(url),
            results=connect_to(results_url, sentinel_master="") if results_url else None,
            keys=KEYS,
            retention=Retention(),
            heartbeats=heartbeats or Heartbeats(KEYS, interval_seconds=0.0, confirm_seconds=0.0),
        )
        self.client = redis.Redis.from_url(url)
        self.results = redis.Redis.from_url(results_url or url)
        broker: Any = None  # no test sends a message
        self.tracker = create_tracker(self.store, broker, final_states={}, lost_final_seconds=LOST_SECONDS)

    def start(self, *, ago: float = 0.0) -> None:
        """Start the task, with the last heartbeat of its instance `ago` seconds ago."""
        self.store.note(STARTED)
        self.beat(ago=ago)
        self.client.hset(KEYS.record("t-1"), FIELDS["started_at"], int((time.time() - ago) * 1000))

    def beat(self, *, ago: float = 0.0) -> None:
        seconds, micros = self.client.time()
        self.client.zadd(KEYS.workers, {INSTANCE: seconds + micros / 1e6 - ago})

    def record(self) -> Any:
        return unpack(named(self.client.hgetall(KEYS.record("t-1"))))

    def close(self) -> None:
        self.store.close()
        self.client.close()
        self.results.close()


@pytest.fixture
def url_without_info(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """The URL of a user without INFO, so that the uptime does not limit the measured silence."""
    with redis_server.client() as client:
        client.execute_command("ACL", "SETUSER", "plain", "on", ">word", "~*", "&*", "+@all", "-info", "-config")
    yield redis_url.replace("redis://", "redis://plain:word@")
    with redis_server.client() as client:
        client.execute_command("ACL", "DELUSER", "plain")


@pytest.fixture(params=["together", "elsewhere"])
def arranged(request: pytest.FixtureRequest, url_without_info: str) -> Iterator[StoreWithHeartbeats]:
    """A store with results in the same database, and one with results in another."""
    elsewhere = url_without_info.removesuffix("/0") + "/1" if request.param == "elsewhere" else None
    arranged = StoreWithHeartbeats(url_without_info, results_url=elsewhere)
    yield arranged
    arranged.close()


def test_heartbeats_need_no_extra_round_trip(redis_url: str) -> None:
    """A read of one task or many is one round trip, with or without the heartbeats."""
    for interval_seconds, reads in ((0.0, 1), (1_000.0, 0)):
        arranged = StoreWithHeartbeats(redis_url, heartbeats=Heartbeats(KEYS, interval_seconds=interval_seconds))
        store = arranged.store
        store.read("t-1")  # connects
        store.report()  # connects
        for use in (store.read, lambda task_id, store=store: list(store.read_many([task_id, "t-2"]))):
            SENT.clear()
            use("t-1")
            [sent] = SENT
            assert sent.count(b"\r\nEVAL\r\n") == sent.count(b"INFO") == reads
        arranged.close()


@pytest.mark.parametrize(
    ("ago", "liveness"),
    [
        (0, Liveness.ALIVE),
        (STALLED_SECONDS + 1, Liveness.STALLED),
        (BEYOND_LOST_SECONDS, Liveness.LOST),
        (600, Liveness.LOST),
    ],
)
def test_liveness(arranged: StoreWithHeartbeats, ago: float, liveness: Liveness) -> None:
    """The age of the last heartbeat determines the liveness, of one task and of many."""
    arranged.start(ago=ago)

    assert arranged.store.read("t-1").liveness is liveness
    assert [one.liveness for one in arranged.store.read_many(["t-1"])] == [liveness]


def test_silence_is_limited_by_the_uptime_of_redis(tmp_path: Path) -> None:
    """Right after a restart of Redis an old heartbeat does not make a worker lost."""
    with running_redis(tmp_path) as server:
        arranged = StoreWithHeartbeats(server.url)
        arranged.start(ago=BEYOND_LOST_SECONDS)
        assert arranged.store.read("t-1").liveness is Liveness.ALIVE
        arranged.close()


def test_many_instances_are_read_within_bounds(url_without_info: str) -> None:
    """Too many instances, endless names and infinite scores cost one short read; known instances stay right."""
    heartbeats = Heartbeats(KEYS, interval_seconds=0.0, confirm_seconds=0.0)
    arranged = StoreWithHeartbeats(url_without_info, heartbeats=heartbeats)
    arranged.start()
    arranged.store.note(Note(task_id="t-2", fact=Fact.STARTED, run="1", instance="gone@h/1"))
    now = arranged.client.time()[0]
    fill = "for i = 1, 10000 do redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2] .. ':' .. i) end"
    for part in range(20):
        arranged.client.eval(fill, 1, KEYS.workers, now + 1000, part)
    arranged.client.zadd(KEYS.workers, {"x" * 1_000_000: now + 2000, "infinite": "inf"})
    arranged.beat()

    arranged.store.read("t-1")
    assert arranged.store.read("t-1").liveness is Liveness.ALIVE
    (reply,) = arranged.client.pipeline(transaction=False).execute_command(*heartbeats.commands()[1]).execute()
    assert len(reply) < 2 * MAX_INSTANCES + 10
    assert max(len(part) for part in reply if isinstance(part, bytes)) < MAX_NAME_BYTES
    assert float(reply[0]) == now + 2000
    arranged.start(ago=BEYOND_LOST_SECONDS)
    assert arranged.store.read("t-1").seconds_since_heartbeat > LOST_SECONDS / 2
    arranged.store.read("t-2")
    assert arranged.store.read("t-2").seconds_since_heartbeat is not None
    assert arranged.store.report().worker_seen_seconds == 0.0
    arranged.close()


def test_liveness_is_unknown_while_redis_rejects_writes(redis_url: str) -> None:
    """While Redis is a replica or full, the liveness of every worker is unknown."""
    arranged = StoreWithHeartbeats(redis_url)
    arranged.start()
    arranged.client.replicaof("127.0.0.1", "1")
    try:
        assert arranged.store.read("t-1").liveness is Liveness.UNKNOWN
    finally:
        arranged.client.replicaof("no", "one")
    assert arranged.store.read("t-1").liveness is Liveness.ALIVE
    arranged.client.config_set("maxmemory", 1)
    try:
        assert arranged.store.read("t-1").liveness is Liveness.UNKNOWN
    finally:
        arranged.client.config_set("maxmemory", 0)
        arranged.close()


def test_the_feed_reports_a_stalled_worker(url_without_info: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The feed reports a task whose worker stalls, although no write happens."""
    monkeypatch.setattr("task_status_service.store.feed.REREAD_SECONDS", 0.2)
    arranged = StoreWithHeartbeats(url_without_info)
    tracker = arranged.tracker
    feed = Feed(
        arranged.store.publishers,
        tracker.read_many,
        partial(tracker.version, caller=ANYBODY),
        keys=KEYS,
        places=Places(1),
    )
    arranged.start(ago=STALLED_SECONDS - 1)
    with feed.watch(["t-1"], limits=[]) as watch:
        assert watch.changed(5) == {"t-1"}  # the first read, because the task may have changed before
        assert arranged.store.read("t-1").liveness is Liveness.ALIVE
        assert watch.changed(5) == {"t-1"}
        assert arranged.store.read("t-1").liveness is Liveness.STALLED
    feed.close()
    arranged.close()


def test_a_lost_task_stays_failed(arranged: StoreWithHeartbeats) -> None:
    """Neither later notes of its worker nor Celery's result change a task that was marked failed as lost."""
    arranged.start(ago=BEYOND_LOST_SECONDS)

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


def test_concurrent_reads_mark_a_lost_task_once(url_without_info: str) -> None:
    """Of several servers that find a task lost at once, one marks it failed, and all return the same status."""
    servers = [StoreWithHeartbeats(url_without_info) for _ in range(8)]
    servers[0].start(ago=BEYOND_LOST_SECONDS)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda one: decode(one.tracker.read("t-1", ANYBODY)), servers))

    assert statuses == [statuses[0]] * 8
    assert statuses[0].state is TaskState.FAILED
    assert (servers[0].record().seq, servers[0].record().late) == (2, 0)
    for server in servers:
        server.close()


def test_a_task_that_changed_is_not_marked_failed(arranged: StoreWithHeartbeats) -> None:
    """A note, a heartbeat or a Celery result after the read prevents marking the task failed."""
    note = Note(task_id="t-1", fact=Fact.FINISHED, outcome="FAILURE")

    def marks_failed() -> bool:
        return bool(arranged.store.mark_failed(note, found, lost_after_seconds=LOST_SECONDS))

    for change in (
        lambda: arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED, run="2", instance="w@h/2")),
        lambda: arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED, run="3", attempt=1, instance=INSTANCE)),
        lambda: arranged.store.note(Note(task_id="t-1", attempt=1, progress={"done": 1})),
        lambda: arranged.beat(ago=LOST_SECONDS / 2),
    ):
        arranged.beat(ago=BEYOND_LOST_SECONDS)
        found = arranged.store.read("t-1")
        change()
        assert not marks_failed()
    arranged.beat(ago=BEYOND_LOST_SECONDS)
    found = arranged.store.read("t-1")
    arranged.results.set(KEYS.meta("t-1"), b'{"status": "SUCCESS"}')
    # Results in another database cannot be compared in the script that writes the record.
    assert marks_failed() == (arranged.results.connection_pool.connection_kwargs["db"] == 1)


def test_marks_a_lost_task_failed_with_any_meta(arranged: StoreWithHeartbeats) -> None:
    """A lost task is marked failed if its meta is unchanged: missing, a large text or a list."""
    for put in (
        lambda: None,
        lambda: arranged.results.set(KEYS.meta("t-1"), b'{"status": "STARTED"}' + b" " * 100_000),
        lambda: (arranged.results.delete(KEYS.meta("t-1")), arranged.results.rpush(KEYS.meta("t-1"), "a")),
    ):
        arranged.client.delete(KEYS.record("t-1"))
        arranged.start(ago=BEYOND_LOST_SECONDS)
        put()
        found = arranged.store.read("t-1")
        note = Note(task_id="t-1", fact=Fact.FINISHED, outcome="FAILURE")
        assert arranged.store.mark_failed(note, found, lost_after_seconds=LOST_SECONDS)
        assert arranged.record().final


def test_lost_data_changes_the_epoch(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """All servers share one epoch; after a loss of the data they report a new one, with a warning."""
    servers = [StoreWithHeartbeats(redis_url) for _ in range(2)]
    for server in servers:
        server.store.note(STARTED)
        server.store.read("t-1")
    before, same = (server.store.report().epoch for server in servers)
    assert before == same
    # A test before this one may have made the server a replica and a master again, which adds a mark.
    assert before.startswith(servers[0].client.get(KEYS.epoch).decode())

    servers[0].client.flushall()
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


def test_a_restart_without_persistence_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After a restart without its data a task is not found, and log and report say that data was lost."""
    with running_redis(tmp_path) as server:
        arranged = StoreWithHeartbeats(server.url)
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


def test_a_restart_with_persistence_keeps_the_epoch(tmp_path: Path) -> None:
    """After a restart with its data Redis has the same epoch, and no durability warnings."""
    with running_redis(tmp_path, durable=True) as server:
        arranged = StoreWithHeartbeats(server.url)
        before = arranged.store.report()
        server.stop()
        server.start()
        assert arranged.store.report() == before
        assert before.epoch is not None
        assert before.durability_warnings == before.warnings == []
        arranged.close()


def test_reports_a_forbidden_info_command(arranged: StoreWithHeartbeats) -> None:
    """If INFO and CONFIG are forbidden, the report warns of that, and has no durability warnings."""
    report = arranged.store.report()

    assert report.durability_warnings == []
    assert "INFO is forbidden" in report.warnings[0]


def test_keys_of_a_wrong_type_are_named(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The report names shared keys of a wrong type, and those that scripts have repaired; the log names each once."""
    arranged = StoreWithHeartbeats(redis_url)
    arranged.store.report()
    arranged.client.set(KEYS.consumers, "x")
    arranged.client.hset(KEYS.repairs, "app_task-status:index:state:queued", "list")
    for _ in range(2):
        wrong, repaired = arranged.store.report().warnings
        assert wrong == f"The key {KEYS.consumers!r} has the type string, and must be a hash: delete it."
        assert "'app_task-status:index:state:queued' had the type list, and was deleted" in repaired
    assert len([record for record in caplog.records if record.name.endswith("wrong_types")]) == 2
    arranged.client.delete(KEYS.repairs)
    arranged.client.set(KEYS.repairs, "x")
    assert len(arranged.store.report().warnings) == 1
    arranged.close()


def test_the_clock_of_redis_is_used(redis_url: str) -> None:
    """The store's time is that of Redis, whatever the clock of this process says; the report warns."""
    wrong = datetime.now(UTC) + timedelta(hours=1)
    arranged = StoreWithHeartbeats(redis_url, heartbeats=Heartbeats(KEYS, now=lambda: wrong))
    assert abs((arranged.store.now() - datetime.now(UTC)).total_seconds()) < 60
    assert any("s ahead of the clock of Redis" in warning for warning in arranged.store.report().warnings)
    arranged.close()


def test_a_promotion_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A server that was a replica of the old master has another epoch, and the report warns of lost tasks."""
    with running_redis(tmp_path) as server:
        arranged = StoreWithHeartbeats(server.url)
        before = arranged.store.report()
        arranged.client.replicaof("127.0.0.1", "1")
        arranged.store.read("t-1")
        arranged.client.replicaof("no", "one")
        after = arranged.store.report()
        assert str(after.epoch).startswith(f"{before.epoch}/")
        assert any("Redis has failed over" in warning for warning in after.warnings)
        assert "Redis has failed over" in caplog.text
        arranged.close()
