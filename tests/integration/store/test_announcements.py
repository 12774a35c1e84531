"""Announcements of workers: what is returned of them, on the fake and on a real Redis."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from support.fakes import MemoryStore
from support.servers import running_redis
from task_status_service.errors import NotReady, StoreUnavailable
from task_status_service.store.announcements import MAX_ANNOUNCED_BYTES, RedisAnnouncements
from task_status_service.store.records import connect_to
from task_status_service.task_types.catalog import Catalog
from task_status_worker.record.announcement import MAX_CONSUMER_BYTES, MAX_TASK_TYPE_BYTES, MAX_TASK_TYPES
from task_status_worker.record.keys import Keys
from task_status_worker.redis_client import RedisRecordClient


class FakeUnderTest:
    """The fake store."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def announce(self, name: str, announcement: bytes) -> None:
        self.store.announced[name.encode()] = announcement

    def consume(self, instance: str, entry: bytes) -> None:
        self.store.consumer_entries[instance] = entry


class RedisUnderTest:
    """The announcements in a real Redis."""

    def __init__(self, url: str, *, keys: Keys) -> None:
        self.keys = keys
        self.client: Any = redis.Redis.from_url(url)
        self.connected = connect_to(url, sentinel_master="")
        self.store = RedisAnnouncements(self.connected, keys=keys)

    def announce(self, name: str, announcement: bytes) -> None:
        self.client.hset(self.keys.task_types, name, announcement)

    def consume(self, instance: str, entry: bytes) -> None:
        self.client.zadd(self.keys.workers, {instance: self.client.time()[0]})
        self.client.hset(self.keys.consumers, instance, entry)

    def close(self) -> None:
        self.connected.close()
        self.client.close()


@pytest.fixture
def in_redis(redis_url: str) -> Iterator[RedisUnderTest]:
    """An empty Redis."""
    arranged = RedisUnderTest(redis_url, keys=Keys())
    yield arranged
    arranged.close()


@pytest.fixture(params=["memory", "redis", "redis with a prefix"])
def arranged(request: pytest.FixtureRequest) -> Iterator[FakeUnderTest | RedisUnderTest]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield FakeUnderTest()
        return
    keys = Keys.under("app" if "prefix" in request.param else None)
    arranged = RedisUnderTest(request.getfixturevalue("redis_url"), keys=keys)
    yield arranged
    arranged.close()


def test_announcements(arranged):
    """Announcements are returned with the time of the store, all or that of one name."""
    assert arranged.store.announcement("demo.add")[1] is None
    for name in ("demo.add", "demo.é"):
        arranged.announce(name, name.encode())

    now, stored, is_complete = arranged.store.announcements()
    assert (list(stored), is_complete) == ([b"demo.add", "demo.é".encode()], True)
    assert now > 0
    assert arranged.store.announcement("demo.é")[1] == "demo.é".encode()
    assert arranged.store.announcement("demo.other")[1] is None


def test_returns_the_consumers_of_live_workers(arranged):
    """The entry of each live worker is returned."""
    assert not arranged.store.consumers()
    arranged.consume("a@h/1", b"one")
    arranged.consume("b@h/2", b"two")
    assert sorted(arranged.store.consumers()) == [b"one", b"two"]


def test_ignores_the_consumers_of_silent_workers(in_redis):
    """A worker with an old heartbeat, or without an entry, is not among the consumers."""
    for instance in ("alive", "silent", "future"):
        in_redis.consume(instance, instance.encode())
    now = in_redis.client.time()[0]
    seen = {"silent": now - 16, "alive": now - 13.5, "without entry": now, "future": now + 100}
    in_redis.client.zadd(in_redis.keys.workers, seen)

    assert sorted(in_redis.store.consumers()) == [b"alive", b"future"]


def test_large_entries_are_not_returned(in_redis):
    """An entry above the limit is omitted by Redis, and does not hide the others."""
    in_redis.announce("large", b"x" * (MAX_TASK_TYPE_BYTES + 1))
    in_redis.announce("fits", b"x" * MAX_TASK_TYPE_BYTES)
    in_redis.consume("large", b"x" * (MAX_CONSUMER_BYTES + 1))
    in_redis.consume("fits", b"x" * MAX_CONSUMER_BYTES)

    _, stored, is_complete = in_redis.store.announcements()
    assert ([len(one) for one in stored], is_complete) == ([MAX_TASK_TYPE_BYTES], True)
    assert in_redis.store.announcement("large")[1] is None
    assert [len(one) for one in in_redis.store.consumers()] == [MAX_CONSUMER_BYTES]


def test_the_bytes_of_all_entries_are_limited(in_redis):
    """Entries above the limit of all are omitted, the last names first; each can be read by its name."""
    fitting = MAX_ANNOUNCED_BYTES // MAX_TASK_TYPE_BYTES
    for number in range(fitting + 3):
        in_redis.announce(f"{number:03}", str(number).encode() * (MAX_TASK_TYPE_BYTES // len(str(number))))
    for number in range(100):
        in_redis.consume(str(number), b"x" * MAX_CONSUMER_BYTES)

    _, stored, is_complete = in_redis.store.announcements()
    assert stored[0][:1] == b"0"
    assert sum(map(len, stored)) <= MAX_ANNOUNCED_BYTES
    assert (len(stored), is_complete) == (fitting, False)
    assert in_redis.store.announcement(f"{fitting + 2:03}")[1]
    assert len(in_redis.store.consumers()) == 16


def test_the_number_of_entries_is_limited(in_redis):
    """A hash with any number of entries is read in part."""
    many = {f"name-{number}": b"{}" for number in range(10 * MAX_TASK_TYPES)}
    in_redis.client.hset(in_redis.keys.task_types, mapping=many)

    _, stored, is_complete = in_redis.store.announcements()
    assert (len(stored), is_complete) == (MAX_TASK_TYPES, False)
    assert in_redis.store.announcement("name-1")[1] == b"{}"


PUT = {
    "string": lambda client, key: client.set(key, "text"),
    "list": lambda client, key: client.rpush(key, "text"),
    "set": lambda client, key: client.sadd(key, "text"),
    "hash": lambda client, key: client.hset(key, "name", "text"),
    "sorted set": lambda client, key: client.zadd(key, {"text": 1}),
    "stream": lambda client, key: client.xadd(key, {"name": "text"}),
}


@pytest.mark.parametrize("kind", PUT)
@pytest.mark.parametrize("name", ["task_types", "consumers", "workers"])
def test_a_key_of_another_type_contains_no_announcements(in_redis, name, kind):
    """A key of another type makes no read fail; a submission is not ready, as without announcements."""
    in_redis.consume("w@h/1", b'{"task_types": ["demo.add"], "queues": ["celery"]}')
    in_redis.client.delete(getattr(in_redis.keys, name))
    PUT[kind](in_redis.client, getattr(in_redis.keys, name))

    catalog = Catalog(in_redis.store)
    assert catalog.available_types().items == []
    with pytest.raises(NotReady):
        catalog.find("demo.add")


def test_hostile_announcements_do_not_displace_another(in_redis):
    """A task type is read by its name among twenty thousand others."""
    now = in_redis.client.time()[0]
    for start in range(0, 20_000, 1_000):
        names = [f"hostile.t{number}" for number in range(start, start + 1_000)]
        in_redis.client.hset(
            in_redis.keys.task_types,
            mapping={name: json.dumps({"name": name, "announced_at": now}) for name in names},
        )
    in_redis.client.hset(in_redis.keys.task_types, "demo.add", json.dumps({"name": "demo.add", "announced_at": now}))
    catalog = Catalog(in_redis.store)
    assert catalog.find("demo.add").name == "demo.add"
    assert len(catalog.available_types().items) <= MAX_TASK_TYPES


@pytest.mark.parametrize("kind", [kind for kind in PUT if kind != "hash"])
def test_the_next_announcement_replaces_a_key_of_another_type(in_redis, redis_url, kind):
    """A worker replaces a key of another type, so its task types can be submitted again within a minute."""
    PUT[kind](in_redis.client, in_redis.keys.task_types)
    worker = RedisRecordClient(redis_url)
    announced = {"name": "demo.add", "announced_at": in_redis.client.time()[0]}
    worker.announce(in_redis.keys.task_types, lambda _: {"demo.add": json.dumps(announced).encode()}, keep_seconds=100)

    assert Catalog(in_redis.store).find("demo.add").name == "demo.add"


def test_raises_an_error_of_the_service_while_redis_is_stopped(tmp_path: Path) -> None:
    """A stopped Redis raises `StoreUnavailable`, and the read works again after its start."""
    told: list[int] = []
    with running_redis(tmp_path) as server:
        client = connect_to(server.url, sentinel_master="")
        store = RedisAnnouncements(client, keys=Keys(), on_unavailable=lambda: told.append(1))
        store.announcements()
        server.stop()
        for use in (store.announcements, store.consumers, lambda: store.announcement("demo.add")):
            with pytest.raises(StoreUnavailable):
                use()
        assert len(told) == 3
        server.start()
        assert store.announcement("demo.add")[1] is None
        client.close()
