"""The quota of stored bytes: what is charged, what is given back, and how near the estimate is to Redis's memory."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.servers import RedisServer, running_redis
from task_status_service.broker import CeleryBroker
from task_status_service.errors import QuotaExceeded
from task_status_service.store.expiry import RedisExpiry
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.stored_bytes import charge_of
from task_status_service.store.submissions import OwnerLimits, RedisSubmissionStore
from task_status_service.use_cases.submission import Call, Claim, Claimed, Recorded, Submission
from task_status_worker.record.codec import FIELDS
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys()
SMALL = Call(name="demo.add", args=[1, 2])
LARGE = Call(name="demo.add", args=["x" * 1_000])
LIMIT = 1 << 30


class Arranged:
    """The store of submissions in a real Redis, with a sweep and time that a test moves."""

    def __init__(self, url: str, *, limit: int = LIMIT, arguments_seconds: int = 3_600, known_seconds: int = 0) -> None:
        self.client: Any = redis.Redis.from_url(url)
        retention = Retention(record_seconds=86_400, known_seconds=known_seconds)
        connection = connect_to(url, sentinel_master="")
        self.store = RedisSubmissionStore(
            connection,
            keys=KEYS,
            retention=retention,
            limits=OwnerLimits(stored_bytes=limit),
            arguments_seconds=arguments_seconds,
            holds_messages=True,
        )
        self.records = RedisStore(connection, results=None, keys=KEYS, retention=retention)
        self.expiry = RedisExpiry(connection, keys=KEYS, retention=retention)

    def submit(self, task_id: str, call: Call = SMALL, owner: str | None = "ann", claim: Claim | None = None) -> object:
        note = Note(task_id=task_id, fact=Fact.SUBMITTED, name=call.name, queue="celery", owner=owner)
        return self.store.submit(note, call, claim)

    def note(self, task_id: str, fact: Fact) -> None:
        self.records.note(Note(task_id=task_id, fact=fact, outcome="SUCCESS" if fact is Fact.FINISHED else None))

    def charged(self, task_id: str) -> list[int]:
        """Return the parts of a task's charge."""
        packed = self.client.hget(KEYS.record(task_id), FIELDS["charged"])
        return [int(part) for part in packed.split(b",")] if packed else []

    def counter(self, owner: str = "ann") -> int:
        return int(self.client.get(KEYS.stored(owner)) or 0)

    def advance(self, seconds: int) -> None:
        """Move all times of records and of the index by expiry into the past, then sweep.

        The clock of Redis cannot be moved.
        """
        for key in self.client.keys(f"{KEYS.names.records}*"):
            for name, unit in (("valid_until", 1), ("finished_at", 1_000), ("submitted_at", 1_000)):
                stored = self.client.hget(key, FIELDS[name])
                if stored and int(stored):
                    self.client.hset(key, FIELDS[name], int(stored) - seconds * unit)
        slots = self.client.zrange(KEYS.index_by_expiry, 0, -1)
        self.client.delete(KEYS.index_by_expiry)
        for slot in slots:
            moved = int(slot) - seconds
            self.client.zadd(KEYS.index_by_expiry, {str(moved): moved})
            old, new = f"{KEYS.index_by_expiry}:{int(slot)}", f"{KEYS.index_by_expiry}:{moved}"
            for task_id in self.client.lrange(old, 0, -1):
                self.client.rpush(new, task_id)
            self.client.delete(old)
        while self.expiry.expire_due():
            pass

    def close(self) -> None:
        self.client.close()
        self.records.close()


@pytest.fixture
def arranged(redis_url: str) -> Iterator[Arranged]:
    """Return a store with a high limit."""
    arranged = Arranged(redis_url)
    yield arranged
    arranged.close()


def test_the_charge_is_given_back_in_parts(arranged: Arranged) -> None:
    """The message is charged until the end, the call until it expires, the record until it expires."""
    arranged.submit("t-1", LARGE)
    for_record, for_message, for_call = arranged.charged("t-1")
    assert min(for_record, for_message, for_call) > 0
    assert arranged.counter() == for_record + for_message + for_call

    arranged.note("t-1", Fact.STARTED)
    assert arranged.charged("t-1") == [for_record, for_message, for_call]
    arranged.note("t-1", Fact.FINISHED)
    assert arranged.charged("t-1") == [for_record, 0, for_call]
    assert arranged.counter() == for_record + for_call

    arranged.advance(3_500)
    assert arranged.counter() == for_record + for_call
    arranged.advance(200)
    assert arranged.charged("t-1") == [for_record, 0, 0]
    assert arranged.counter() == for_record
    assert arranged.client.ttl(KEYS.stored("ann")) > 0
    assert not arranged.client.exists(KEYS.call("t-1"))

    arranged.advance(86_400)
    assert arranged.counter() == 0
    assert not arranged.client.exists(KEYS.stored("ann"))


def test_a_submission_above_the_limit_writes_nothing(redis_url: str) -> None:
    """A submission above the limit is rejected before anything is written; other owners, and none, are not limited."""
    claim = Claim(key="order-1", fingerprint=b"f" * 16, owner="ann")
    # Room for two queued tasks, or for one that is done and two that are queued.
    arranged = Arranged(redis_url, limit=5_500)
    arranged.submit("t-1", claim=claim)
    arranged.store.end_lease(claim, "t-1", b"answer")
    arranged.submit("t-2")
    before = {key: arranged.client.dump(key) for key in arranged.client.keys("*")}

    with pytest.raises(QuotaExceeded, match=f"{arranged.counter():,} of 5,500 bytes"):
        arranged.submit("t-3", claim=Claim(key="order-2", fingerprint=b"f" * 16, owner="ann"))
    assert {key: arranged.client.dump(key) for key in arranged.client.keys("*")} == before

    # A repeated request, a recorded submission, and other owners.
    assert arranged.submit("t-3", claim=claim) == Claimed(is_same=True, task_id="t-1", answer=b"answer")
    assert isinstance(arranged.submit("t-1"), Recorded)
    assert isinstance(arranged.submit("t-4", owner="ben"), Recorded)
    assert isinstance(arranged.submit("t-5", LARGE, owner=None), Recorded)
    arranged.note("t-1", Fact.FINISHED)
    assert isinstance(arranged.submit("t-3"), Recorded)
    arranged.close()


def test_expired_tasks_make_room(redis_url: str) -> None:
    """A submission removes expired tasks of its owner if the limit is reached, even without a sweep."""
    arranged = Arranged(redis_url, limit=5_000)
    arranged.submit("t-1")
    arranged.submit("t-2")
    arranged.expiry.expire_due = lambda: False  # type: ignore[method-assign]
    arranged.advance(2 * 86_400)

    assert isinstance(arranged.submit("t-3"), Recorded)
    assert arranged.counter() == sum(arranged.charged("t-3"))
    arranged.close()


def test_no_quota_charges_nothing(redis_url: str) -> None:
    """Without a limit nothing is charged."""
    arranged = Arranged(redis_url, limit=0)
    arranged.submit("t-1", LARGE)

    assert arranged.charged("t-1") == []
    assert not arranged.client.exists(KEYS.stored("ann"))
    arranged.close()


@pytest.mark.parametrize("value", ["text", "-5", "1e9", "9" * 30, "", "list"])
def test_a_broken_counter_rejects_nothing(arranged: Arranged, value: str) -> None:
    """A counter that is no number or has another type counts as 0, and is replaced."""
    key = KEYS.stored("ann")
    for step in (lambda: arranged.submit("t-1"), lambda: arranged.note("t-1", Fact.FINISHED)):
        arranged.client.delete(key)
        arranged.client.rpush(key, "x") if value == "list" else arranged.client.set(key, value)
        step()
        assert arranged.client.type(key) in (b"string", b"none")
    arranged.submit("t-2")
    assert arranged.counter() == sum(arranged.charged("t-2"))


@pytest.mark.parametrize("charged", ["", "text", "-1,-1,-1", "1,2", "1e9,0,0", "9" * 30 + ",0,0"])
def test_a_broken_charge_gives_nothing_back(arranged: Arranged, charged: str) -> None:
    """A charge that is unreadable counts as 0 in its task, and other tasks are not affected."""
    arranged.submit("t-1")
    arranged.submit("t-2")
    before = arranged.counter()
    arranged.client.hset(KEYS.record("t-1"), FIELDS["charged"], charged)

    arranged.note("t-1", Fact.FINISHED)
    arranged.records.forget(arranged.records.read("t-1"))
    assert arranged.counter() == before
    arranged.note("t-2", Fact.FINISHED)
    assert arranged.counter() == before - message_bytes()


def message_bytes() -> int:
    """Return the bytes that are charged for the message of a small task."""
    note = Note(task_id="t-2", fact=Fact.SUBMITTED, name=SMALL.name, queue="celery", owner="ann")
    return charge_of(note, b"[[1,2]]", holds_message=True).message


IDS = [f"t-{number}" for number in range(4)]
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from(IDS),
            st.sampled_from([SMALL, LARGE]),
            st.sampled_from(["ann", "ben", None]),
        ),
        st.tuples(st.just("note"), st.sampled_from(IDS), st.sampled_from(list(Fact))),
        st.tuples(st.just("forget"), st.sampled_from(IDS)),
        st.tuples(st.just("advance"), st.sampled_from([60, 3_700, 50_000, 90_000])),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, arguments_seconds=st.sampled_from([0, 3_600]), known_seconds=st.sampled_from([0, 86_400]))
def test_the_counter_is_the_sum_of_the_charges(
    redis_server: RedisServer, steps: list[tuple[Any, ...]], arguments_seconds: int, known_seconds: int
) -> None:
    """After any sequence of submissions, notes, deletions and expiry, the counter of an owner is the sum of charges."""
    arranged = Arranged(redis_server.url, arguments_seconds=arguments_seconds, known_seconds=known_seconds)
    arranged.client.flushall()
    for step, *rest in steps:
        if step == "forget":
            arranged.records.forget(arranged.records.read(rest[0]))
        else:
            getattr(arranged, step)(*rest)
        sums: Counter[str] = Counter()
        for key in arranged.client.keys(f"{KEYS.names.records}*"):
            owner = arranged.client.hget(key, FIELDS["owner"])
            if owner:
                sums[owner.decode()] += sum(arranged.charged(key.decode().removeprefix(KEYS.names.records)))
        for owner in ("ann", "ben"):
            assert arranged.counter(owner) == sums[owner]
    arranged.advance(100_000)
    assert not arranged.client.keys("task-status:bytes:*")
    arranged.close()


SOON = datetime.now(UTC) + timedelta(days=1)
SHAPES = {
    "no arguments": Submission(call=Call(name="demo.add")),
    "small arguments": Submission(call=SMALL, labels={"customer": "42"}),
    "100 bytes": Submission(call=Call(name="demo.add", args=["x" * 100])),
    "times": Submission(call=LARGE, scheduled_for=SOON, expires_at=SOON),
    "100 KB": Submission(call=Call(name="demo.add", kwargs={"x": "y" * 100_000})),
    "many values": Submission(call=Call(name="demo.add", args=[[{"key": n} for n in range(200)]])),
    "non-ASCII": Submission(call=Call(name="demo.add", args=["é" * 1_000, "日本" * 500])),
    "labels": Submission(call=SMALL, labels={f"label-{number}": "b" * 200 for number in range(8)}),
    "long names": Submission(call=Call(name="demo." + "a" * 200, queue="q" * 100)),
}


@pytest.fixture(scope="module")
def fresh_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a Redis without the clients of other tests, whose buffers would be measured too."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.mark.parametrize("shape", SHAPES)
def test_the_charge_is_near_the_memory(fresh_redis: RedisServer, shape: str) -> None:
    """The charge of queued tasks is within 20 % of the growth of Redis, and that of done ones too."""
    submission = SHAPES[shape]
    arranged = Arranged(fresh_redis.url)
    arranged.client.flushall()
    broker = CeleryBroker(fresh_redis.url, default_queue="celery")
    queue = submission.call.queue or "celery"

    def submit(count: int) -> list[str]:
        ids = [str(uuid4()) for _ in range(count)]
        for task_id in ids:
            note = Note(
                task_id=task_id,
                fact=Fact.SUBMITTED,
                name=submission.call.name,
                owner="an-owner",
                queue=queue,
                labels=submission.labels,
                scheduled_for=submission.scheduled_for,
                expires_at=submission.expires_at,
            )
            arranged.store.submit(note, submission.call, None)
            broker.send(task_id, submission, queue=queue)
        return ids

    def used() -> tuple[int, int]:
        return arranged.client.info("memory")["used_memory"], arranged.counter("an-owner")

    def execute(ids: list[str]) -> None:
        worker = {"worker": "celery@a-host", "instance": "celery@a-host/5f2b1c9e"}
        for task_id in ids:
            arranged.records.note(Note(task_id=task_id, fact=Fact.RECEIVED, root_id=task_id))
            arranged.records.note(Note(task_id=task_id, fact=Fact.STARTED, run=uuid4().hex, **worker))
            arranged.records.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS"))

    # Sorted sets of up to 128 members are smaller, and the first note loads its script.
    execute(submit(140))
    before, charged_before = used()
    ids = submit(50 if shape == "100 KB" else 300)
    queued, charged_queued = used()
    execute(ids)
    # Celery's messages, newest first.
    arranged.client.ltrim(queue, len(ids), -1)
    done, charged_done = used()

    # The charge is that of Redis with its default allocator. Others, and Valkey, need up to a third less or more.
    tolerance = 0.2 if arranged.client.info("memory")["mem_allocator"].startswith("jemalloc") else 0.5
    assert (charged_queued - charged_before) / (queued - before) == pytest.approx(1, abs=tolerance)
    assert (charged_done - charged_before) / (done - before) == pytest.approx(1, abs=tolerance)
    arranged.close()
    broker.close()
