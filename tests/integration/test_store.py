"""What the tracker may expect of a store: the fake and Redis pass the same tests."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import redis
from fakes import MemoryStore
from servers import running_redis
from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.status import MAX_STORED_BYTES
from task_status_service.store import RedisStore, connect_to
from task_status_worker.record import Fact, Keys, Note, Retention, unpack

SUBMITTED = Note(task_id="t-1", fact=Fact.SUBMITTED, name="demo.add", labels={"a": "b"})


class Arranged(Protocol):
    """A store, and the hands of Celery and the workers behind it."""

    store: Any

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None: ...
    def announce(self, name: bytes, announcement: bytes) -> None: ...
    def see_worker(self) -> None: ...
    def forget_record(self, task_id: str) -> None: ...


class ArrangedMemory:
    """The fake."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None:
        self.store.metas[task_id] = meta

    def announce(self, name: bytes, announcement: bytes) -> None:
        self.store.announced[name] = announcement

    def see_worker(self) -> None:
        self.store.worker_seen = 0.0

    def forget_record(self, task_id: str) -> None:
        del self.store.records[task_id]


class ArrangedRedis:
    """The adapter, over a real Redis."""

    def __init__(self, url: str, *, keys: Keys, results_url: str | None = None) -> None:
        self.keys = keys
        self.client = redis.Redis.from_url(url)
        self.results = redis.Redis.from_url(results_url) if results_url else self.client
        results = connect_to(results_url, sentinel_master="") if results_url else None
        self.store = RedisStore(connect_to(url, sentinel_master=""), results=results, keys=keys, retention=Retention())

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None:
        key = self.keys.meta(task_id)
        if isinstance(meta, list):
            self.results.rpush(key, *meta)
        else:
            self.results.set(key, meta)

    def announce(self, name: bytes, announcement: bytes) -> None:
        self.client.hset(self.keys.task_types, name, announcement)

    def see_worker(self) -> None:
        self.client.zadd(self.keys.workers, {"celery@here": self.client.time()[0]})

    def forget_record(self, task_id: str) -> None:
        self.client.delete(self.keys.record(task_id))

    def close(self) -> None:
        self.store.close()
        self.client.close()
        self.results.close()


@pytest.fixture(params=["memory", "redis", "redis with a prefix", "redis with results elsewhere"])
def arranged(request: pytest.FixtureRequest) -> Iterator[Arranged]:
    """Give each kind of store, empty."""
    if request.param == "memory":
        yield ArrangedMemory()
        return
    url = request.getfixturevalue("redis_url")
    elsewhere = url.removesuffix("/0") + "/1" if request.param.endswith("elsewhere") else None
    arranged = ArrangedRedis(url, keys=Keys.under("app" if "prefix" in request.param else None), results_url=elsewhere)
    yield arranged
    arranged.close()


def test_nothing(arranged: Arranged) -> None:
    """Of an id that never was there is nothing, and it is not known."""
    snapshot = arranged.store.read("t-1")

    assert (dict(snapshot.record), snapshot.meta, snapshot.wrong_type, snapshot.known) == ({}, None, False, False)


def test_reads_what_was_noted(arranged: Arranged) -> None:
    """A record holds what was noted, and the id is known."""
    noted_at = arranged.store.note(SUBMITTED)

    snapshot = arranged.store.read("t-1")
    record = unpack(snapshot.record)
    assert (record.fact, record.name, record.labels, record.seq) == (Fact.SUBMITTED, "demo.add", {"a": "b"}, 1)
    assert record.submitted_at == record.updated_at == noted_at
    assert snapshot.known


def test_advances_and_never_goes_back(arranged: Arranged) -> None:
    """A record only advances; what is final stays."""
    for fact in (Fact.SUBMITTED, Fact.STARTED, Fact.RECEIVED, Fact.FINISHED, Fact.STARTED):
        arranged.store.note(Note(task_id="t-1", fact=fact, outcome="SUCCESS" if fact is Fact.FINISHED else None))

    record = unpack(arranged.store.read("t-1").record)
    assert (record.fact, record.outcome, record.final) == (Fact.FINISHED, "SUCCESS", True)
    assert (record.executions, record.late) == (2, 1)


def test_reads_celerys_bytes(arranged: Arranged) -> None:
    """Celery's meta is given as it is stored."""
    arranged.put_meta("t-1", b"\x00\xffanything")

    snapshot = arranged.store.read("t-1")

    assert (snapshot.meta, snapshot.wrong_type, snapshot.known) == (b"\x00\xffanything", False, False)


def test_reads_no_more_than_is_decoded(arranged: Arranged) -> None:
    """Of a huge value just enough is read to see that it is too large."""
    arranged.put_meta("t-1", b"x" * (MAX_STORED_BYTES + 1_000))

    assert len(arranged.store.read("t-1").meta) == MAX_STORED_BYTES + 1


def test_tells_another_type(arranged: Arranged) -> None:
    """A key that is no string is told as such, and the record is still read."""
    arranged.store.note(SUBMITTED)
    arranged.put_meta("t-1", [b"a", b"list"])

    snapshot = arranged.store.read("t-1")

    assert (snapshot.meta, snapshot.wrong_type) == (None, True)
    assert unpack(snapshot.record).fact is Fact.SUBMITTED


def test_remembers_what_has_expired(arranged: Arranged) -> None:
    """Of a task whose record is gone it is known that there was one."""
    arranged.store.note(SUBMITTED)
    arranged.forget_record("t-1")

    snapshot = arranged.store.read("t-1")

    assert (dict(snapshot.record), snapshot.known) == ({}, True)


def test_announcements(arranged: Arranged) -> None:
    """Announcements are given with the store's time."""
    arranged.announce(b"demo.add", json.dumps({"name": "demo.add"}).encode())

    now, announced = arranged.store.announcements()

    assert dict(announced) == {b"demo.add": b'{"name": "demo.add"}'}
    assert now > 0


def test_workers_seen(arranged: Arranged) -> None:
    """It is told how long ago a worker was seen."""
    assert arranged.store.worker_seen_seconds() is None
    arranged.see_worker()
    assert arranged.store.worker_seen_seconds() < 5


class CountingConnection(redis.Connection):
    """Count what is sent: one send is one round trip."""

    trips = 0

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        type(self).trips += 1
        super().send_packed_command(command, check_health)


def test_round_trips(redis_url: str) -> None:
    """On a real connection a read is one round trip, and a note is one."""
    pool = redis.ConnectionPool.from_url(redis_url, connection_class=CountingConnection)
    store = RedisStore(redis.Redis(connection_pool=pool), results=None, keys=Keys(), retention=Retention())
    store.read("t-1")  # connects
    store.note(SUBMITTED)  # connects, and loads the script
    for use in (lambda: store.read("t-1"), lambda: store.note(SUBMITTED)):
        CountingConnection.trips = 0
        use()
        assert CountingConnection.trips == 1
    store.close()


def test_one_key_is_kept_as_long_as_its_task_waits(redis_url: str) -> None:
    """A task that waits for its time is kept that much longer."""
    arranged = ArrangedRedis(redis_url, keys=Keys())
    week = Retention().record_seconds
    arranged.store.note(SUBMITTED)
    arranged.store.note(Note(task_id="t-2", fact=Fact.SUBMITTED, scheduled_for=datetime.now(UTC) + timedelta(days=30)))

    assert week - 60 <= arranged.client.ttl(arranged.keys.record("t-1")) <= week
    assert arranged.client.ttl(arranged.keys.record("t-2")) > week + 29 * 86_400
    assert arranged.client.ttl(arranged.keys.known("t-1")) > week
    arranged.close()


def test_gone_and_back(tmp_path: Any) -> None:
    """A Redis that is gone is named so, and used again as soon as it is back, with the script it has lost."""
    with running_redis(tmp_path) as server:
        store = RedisStore(connect_to(server.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
        store.note(SUBMITTED)
        server.stop()
        for use in (lambda: store.read("t-1"), lambda: store.note(SUBMITTED), store.announcements):
            with pytest.raises(StoreUnavailable):
                use()
        server.start()
        store.note(SUBMITTED)
        assert store.read("t-1").record
        store.close()


def test_full(tmp_path: Any) -> None:
    """A full Redis takes no writes and is named so; reading goes on."""
    with running_redis(tmp_path) as server, server.client() as client:
        store = RedisStore(connect_to(server.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
        store.note(SUBMITTED)
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            store.note(SUBMITTED)
        assert store.read("t-1").record
        store.close()


def test_read_only(redis_url: str) -> None:
    """A Redis that has become a replica takes no writes: unavailable, not full."""
    arranged = ArrangedRedis(redis_url, keys=Keys())
    arranged.client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable) as raised:
            arranged.store.note(SUBMITTED)
        assert not isinstance(raised.value, StoreFull)
    finally:
        arranged.client.replicaof("no", "one")
        arranged.close()
