"""Reads of huge records on a real Redis: their cost in bytes is bounded, and nothing else is lost."""

import itertools
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import redis
from support.round_trips import SENT, counting_client
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.codec import FIELDS, MAX_FIELD_BYTES, unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys()
MEGABYTE = 1_000_000


class Bounded(msgspec.Struct):
    """A store with one recorded task, and a client of the same Redis."""

    client: Any
    store: RedisStore

    def sent(self) -> int:
        """The bytes that Redis has sent so far."""
        return int(self.client.info("stats")["total_net_output_bytes"])


@pytest.fixture
def bounded(redis_url: str) -> Iterator[Bounded]:
    """A store with a running task."""
    store = RedisStore(connect_to(redis_url, sentinel_master=""), results=None, keys=KEYS, retention=Retention())
    store.note(Note(task_id="t-1", fact=Fact.STARTED, name="demo.add", owner="web", labels={"a": "x" * 99}))
    store.read("t-0")
    with redis.Redis.from_url(redis_url) as client:
        yield Bounded(client, store)
    store.close()


def test_a_huge_field_is_left_out(bounded: Bounded) -> None:
    """Huge fields are left out, known or not; the others are read."""
    for field in ("progress", "failure", "queue", "worker"):
        bounded.client.hset(KEYS.record("t-1"), FIELDS[field], b"x" * 5 * MEGABYTE)
    bounded.client.hset(KEYS.record("t-1"), "unknown", b"x" * 5 * MEGABYTE)
    bounded.client.hset(KEYS.record("t-1"), b"x" * 5 * MEGABYTE, "unknown")
    before = bounded.sent()

    snapshots = [bounded.store.read("t-1"), *bounded.store.read_many(["t-1", "t-0"])]

    assert bounded.sent() - before < MEGABYTE
    for snapshot in snapshots[:2]:
        record = unpack(snapshot.record)
        assert record is not None
        assert (record.fact, record.name, record.owner, record.labels) == (
            Fact.STARTED,
            "demo.add",
            "web",
            {"a": "x" * 99},
        )
        assert not {b"progress", b"failure", b"queue", b"worker"} & snapshot.record.keys()
    assert snapshots[2].is_empty


def test_many_fields_are_left_out(bounded: Bounded) -> None:
    """The known fields of a record with many others are read."""
    numbers = iter(range(200_000))
    while chunk := list(itertools.islice(numbers, 10_000)):
        bounded.client.hset(KEYS.record("t-1"), mapping={f"field {number}": "x" for number in chunk})
    before = bounded.sent()

    snapshot = bounded.store.read("t-1")

    assert bounded.sent() - before < 50_000
    assert snapshot.record[b"fact"] == b"STARTED"


def test_the_largest_fields_are_read(bounded: Bounded) -> None:
    """Fields of the largest size that a note stores are read."""
    progress = "x" * (MAX_FIELD_BYTES - 2)
    bounded.store.note(Note(task_id="t-1", progress=progress, name=progress, queue=progress, worker=progress))

    record = unpack(bounded.store.read("t-1").record)

    assert record is not None
    assert (record.progress, record.queue, record.worker) == (progress, progress, progress)


def test_reads_without_the_measuring_command(redis_url: str) -> None:
    """A user without MEMORY, as in some managed services, reads the same."""
    with redis.Redis.from_url(redis_url) as client:
        client.execute_command("ACL", "SETUSER", "limited", "on", ">secret", "~*", "&*", "+@all", "-memory")
        try:
            url = redis_url.replace("redis://", "redis://limited:secret@")
            store = RedisStore(connect_to(url, sentinel_master=""), results=None, keys=KEYS, retention=Retention())
            store.note(Note(task_id="t-1", fact=Fact.STARTED, labels={"a": "x" * 99}))
            record = unpack(store.read("t-1").record)
            assert record is not None
            assert (record.fact, record.labels) == (Fact.STARTED, {"a": "x" * 99})
            store.close()
        finally:
            client.execute_command("ACL", "DELUSER", "limited")


def test_reads_after_redis_has_lost_the_script(redis_url: str) -> None:
    """Each read is answered after SCRIPT FLUSH, with one more round trip for the first one."""
    store = RedisStore(counting_client(redis_url), results=None, keys=KEYS, retention=Retention())
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    for use in (lambda: store.read("t-1"), lambda: next(store.read_many(["t-1"] * 30))):
        with redis.Redis.from_url(redis_url) as client:
            client.script_flush()
        SENT.clear()
        assert use().record[b"fact"] == b"STARTED"
        assert use().record[b"fact"] == b"STARTED"
        assert len(SENT) == 3
    store.close()
