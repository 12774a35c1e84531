"""The expiry of tasks on a real Redis: the index shrinks without any note."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from support.expiry import due, expire_now
from task_status_service.store import expiry
from task_status_service.store.expiry import RedisExpiry
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.use_cases.sweeper import Sweeper
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys("app:")
RETENTION = Retention(record_seconds=3_600, known_seconds=7_200)
FACTS = (Fact.SUBMITTED, Fact.STARTED, Fact.FINISHED)


class Arranged(msgspec.Struct):
    """A store, its sweeper, and a client of the same Redis."""

    client: Any
    store: RedisStore
    sweeper: Sweeper

    def add(self, count: int, **fields: Any) -> list[str]:
        """Note some tasks in different states, half of them with an owner."""
        ids = [f"t-{number}" for number in range(count)]
        for number, task_id in enumerate(ids):
            owner = "web" if number % 2 else None
            self.store.note(Note(task_id=task_id, fact=FACTS[number % 3], name="demo.add", owner=owner, **fields))
        return ids

    @property
    def indexed(self) -> set[str]:
        """The ids in all keys of the index but that by expiry."""
        names = self.client.keys(f"{KEYS.names.index}*")
        kept = [key for key in names if not key.startswith((KEYS.index_by_expiry.encode(), KEYS.index_keys.encode()))]
        return {member.decode() for key in kept for member in self.client.zrange(key, 0, -1)}


@pytest.fixture
def arranged(redis_url: str) -> Iterator[Arranged]:
    """An empty store and its sweeper."""
    records = connect_to(redis_url, sentinel_master="")
    store = RedisStore(records, results=None, keys=KEYS, retention=RETENTION)
    with redis.Redis.from_url(redis_url) as client:
        yield Arranged(client, store, Sweeper(RedisExpiry(records, keys=KEYS, retention=RETENTION)))
    store.close()


def test_the_index_shrinks_to_nothing(arranged: Arranged) -> None:
    """Without any note, a sweep empties the index of expired tasks, and their owners are still known."""
    ids = arranged.add(250)
    expire_now(arranged.client, KEYS, *ids)
    arranged.sweeper.sweep()

    assert arranged.indexed == set()
    assert due(arranged.client, KEYS) == {}
    for number, snapshot in enumerate(arranged.store.read_many(ids)):
        assert (snapshot.is_empty, snapshot.known, snapshot.owner) == (True, True, "web" if number % 2 else None)
        seconds = arranged.client.ttl(KEYS.record(snapshot.task_id))
        assert RETENTION.known_seconds - 60 < seconds <= RETENTION.known_seconds + 1


def test_a_sweep_keeps_live_tasks(arranged: Arranged) -> None:
    """A sweep changes nothing about tasks that have not expired."""
    ids = arranged.add(9)
    before = [arranged.store.read(task_id) for task_id in ids]
    for _ in range(20):
        arranged.sweeper.sweep()

    assert arranged.indexed == set(ids)
    assert [arranged.store.read(task_id) for task_id in ids] == before


@pytest.mark.parametrize("batch", [1, 4, 500])
def test_vanished_records_leave_the_index(arranged: Arranged, monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Tasks whose records were evicted, deleted or replaced by another type leave the index within some sweeps."""
    monkeypatch.setattr(expiry, "CHECKED_AT_ONCE", batch)
    ids = arranged.add(12)
    gone = {ids[0], ids[4], ids[5], ids[7]}
    arranged.client.delete(*(KEYS.record(task_id) for task_id in gone))
    arranged.client.set(KEYS.record(ids[0]), "text")
    arranged.client.zadd(KEYS.index_by_state("failed"), {ids[1]: 1, "never was": 1})
    arranged.client.zadd(KEYS.index_keys, {KEYS.index_by_state("failed"): 0, "another key": 0})
    for _ in range(80):
        arranged.sweeper.sweep()

    assert arranged.indexed == set(ids) - gone
    assert not arranged.client.exists(KEYS.index_by_state("failed"))
    assert arranged.client.zscore(KEYS.index_keys, "another key") is None
    assert arranged.client.get(KEYS.record(ids[0])) == b"text"


def test_an_unreadable_end_is_set_again(arranged: Arranged) -> None:
    """A record whose end is unreadable gets a new one when it is due."""
    (task_id,) = arranged.add(1)
    expire_now(arranged.client, KEYS, task_id)
    arranged.client.hset(KEYS.record(task_id), "v", "soon")
    arranged.sweeper.sweep()

    valid_until = int(arranged.store.read(task_id).record[b"valid_until"])
    assert valid_until - arranged.client.time()[0] == pytest.approx(RETENTION.record_seconds, abs=60)
    assert due(arranged.client, KEYS).keys() == {task_id.encode()}
