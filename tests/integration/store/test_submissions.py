"""The store of submissions: the fake and Redis pass the same tests, alone and under a race."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import uuid4

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.fakes import MemoryBroker, MemoryStore
from support.round_trips import SENT, counting_client
from support.servers import RedisServer
from support.use_cases import create_tracker
from task_status_service.access.caller import ANYBODY
from task_status_service.errors import BrokerUnavailable, IdempotencyInFlight, StoreFull, TooManyQueued
from task_status_service.status import TaskState
from task_status_service.store import submissions
from task_status_service.store.announcements import RedisAnnouncements
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import OwnerLimits, RedisSubmissionStore
from task_status_service.task_types.catalog import Catalog, TaskNames
from task_status_service.use_cases.resender import Unreceived
from task_status_service.use_cases.submission import (
    CLAIM_SECONDS,
    LEASE_SECONDS,
    Call,
    Claim,
    Claimed,
    Interrupted,
    Recorded,
    Submission,
)
from task_status_service.use_cases.submitter import Accepted, Submitter
from task_status_worker.record.codec import FIELDS, named, unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

CALL = Call(name="demo.add", args=[2, None], kwargs={"z": {"deep": [1.5, "é"]}}, queue="sums", priority=3)
FINGERPRINT = b"\xff" * 16
CLAIM = Claim(key="order-1", fingerprint=FINGERPRINT)
OTHER = Claim(key="order-1", fingerprint=b"g" * 16)
#: how many tasks of one owner may be queued
QUOTA = 3
ANSWER = b'{"any": "answer"}'


def note_of(task_id: str, **fields: Any) -> Note:
    """Return the note of a submission."""
    fields = {"queue": CALL.queue, **fields}
    return Note(task_id=task_id, fact=Fact.SUBMITTED, name="demo.add", labels={"a": "b"}, **fields)


class Arranged(Protocol):
    """A store of submissions whose time a test can move."""

    store: Any

    def note(self, note: Note) -> None: ...
    def record(self, task_id: str) -> Any: ...
    def end_all_leases(self) -> None: ...


class ArrangedMemory:
    """The store in memory."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.store.queued_per_owner = QUOTA

    def note(self, note: Note) -> None:
        self.store.note(note)

    def record(self, task_id: str) -> Any:
        return unpack(self.store.read(task_id).record)

    def end_all_leases(self) -> None:
        self.store.time += timedelta(seconds=LEASE_SECONDS)


class ArrangedRedis:
    """The store in a real Redis."""

    def __init__(self, url: str, keys: Keys) -> None:
        self.keys = keys
        self.client: Any = redis.Redis.from_url(url)
        self.store = RedisSubmissionStore(
            connect_to(url, sentinel_master=""),
            keys=keys,
            retention=Retention(),
            limits=OwnerLimits(queued_tasks=QUOTA),
        )
        self.records = RedisStore(connect_to(url, sentinel_master=""), results=None, keys=keys, retention=Retention())

    def note(self, note: Note) -> None:
        self.records.note(note)

    def record(self, task_id: str) -> Any:
        return unpack(named(self.client.hgetall(self.keys.record(task_id))))

    def end_all_leases(self) -> None:
        for key in self.client.keys("*task-status:claim:*"):
            self.client.hset(key, "u", self.client.time()[0] * 1000 - 1)


@pytest.fixture(params=["memory", "redis", "redis with a prefix"])
def arranged(request: pytest.FixtureRequest) -> Iterator[Arranged]:
    """Return each kind of store, empty."""
    if request.param == "memory":
        yield ArrangedMemory()
        return
    keys = Keys.under("app" if "prefix" in request.param else None)
    arranged = ArrangedRedis(request.getfixturevalue("redis_url"), keys)
    yield arranged
    arranged.client.close()
    arranged.records.close()


def test_records(arranged: Arranged) -> None:
    """A submission is recorded like any note, and its call is kept."""
    recorded = arranged.store.submit(note_of("t-1"), CALL, None)

    record = arranged.record("t-1")
    assert recorded == Recorded(record.submitted_at)
    assert (record.fact, record.name, record.labels, record.seq) == (Fact.SUBMITTED, "demo.add", {"a": "b"}, 1)
    assert arranged.store.call("t-1") == CALL
    assert arranged.store.call("t-2") is None
    assert arranged.store.claimed(CLAIM) is None


def test_a_claim_is_leased(arranged: Arranged) -> None:
    """While one request holds the lease, every other request with its key writes nothing."""
    assert isinstance(arranged.store.submit(note_of("t-1"), CALL, CLAIM), Recorded)

    assert arranged.store.submit(note_of("t-2"), CALL, CLAIM) == Claimed(is_same=True, task_id="t-1", answer=None)
    assert arranged.store.submit(note_of("t-3"), CALL, OTHER) == Claimed(is_same=False, task_id="t-1", answer=None)
    assert (arranged.record("t-2"), arranged.record("t-3")) == (None, None)
    assert (arranged.store.call("t-2"), arranged.store.call("t-3")) == (None, None)
    assert arranged.store.claimed(CLAIM) == Claimed(is_same=True, task_id="t-1", answer=None)


def test_a_repeated_script_meets_its_own_claim(arranged: Arranged) -> None:
    """A script that is sent again after a timeout of the connection answers as before, and writes nothing."""
    recorded = arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.note(Note(task_id="t-1", fact=Fact.STARTED, attempt=0))
    assert arranged.store.submit(note_of("t-1"), CALL, CLAIM) == recorded
    assert arranged.record("t-1").seq == 2
    assert isinstance(arranged.store.submit(note_of("t-2"), CALL, CLAIM), Claimed)

    arranged.end_all_leases()
    for _ in range(2):
        assert arranged.store.submit(note_of("t-3"), CALL, CLAIM) == Interrupted("t-1")
    assert isinstance(arranged.store.submit(note_of("t-4"), CALL, CLAIM), Claimed)


def test_an_answer_stays(arranged: Arranged) -> None:
    """Every later request with the same key gets the stored answer."""
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.store.end_lease(CLAIM, "t-1", ANSWER)
    arranged.end_all_leases()

    assert arranged.store.submit(note_of("t-2"), CALL, CLAIM) == Claimed(is_same=True, task_id="t-1", answer=ANSWER)
    assert arranged.store.submit(note_of("t-2"), CALL, OTHER) == Claimed(is_same=False, task_id="t-1", answer=ANSWER)
    assert arranged.store.claimed(CLAIM) == Claimed(is_same=True, task_id="t-1", answer=ANSWER)
    assert arranged.record("t-2") is None


def test_an_owner_has_a_queue_limit(arranged: Arranged) -> None:
    """An owner has a limit of queued and canceling tasks; a start makes room, and other owners are not affected."""
    for number in range(QUOTA):
        arranged.store.submit(note_of(f"a-{number}", owner="a"), CALL, None)
    claim = msgspec.structs.replace(CLAIM, owner="a")
    for _ in range(2):
        with pytest.raises(TooManyQueued):
            arranged.store.submit(note_of("a-9", owner="a"), CALL, claim)
    assert (arranged.record("a-9"), arranged.store.call("a-9"), arranged.store.claimed(claim)) == (None, None, None)
    for number in range(QUOTA + 2):
        arranged.store.submit(note_of(f"b-{number}", owner="b" if number < QUOTA else None), CALL, None)

    # The request that continues a recorded submission writes it again.
    arranged.store.submit(note_of("a-1", owner="a", send_unconfirmed=False), CALL, None)
    arranged.note(Note(task_id="a-1", cancel_requested=True))
    with pytest.raises(TooManyQueued):
        arranged.store.submit(note_of("a-9", owner="a"), CALL, claim)
    arranged.note(Note(task_id="a-0", fact=Fact.STARTED))
    assert isinstance(arranged.store.submit(note_of("a-9", owner="a"), CALL, claim), Recorded)


def test_an_accepted_submission_is_answered_above_the_queue_limit(arranged: Arranged) -> None:
    """A submission that was accepted is answered again, even if the queue limit is reached."""
    claim = msgspec.structs.replace(CLAIM, owner="a")
    arranged.store.submit(note_of("a-0", owner="a"), CALL, claim)
    arranged.store.end_lease(claim, "a-0", ANSWER)
    for number in range(1, QUOTA):
        arranged.store.submit(note_of(f"a-{number}", owner="a"), CALL, None)

    assert arranged.store.submit(note_of("a-9", owner="a"), CALL, claim) == Claimed(
        is_same=True, task_id="a-0", answer=ANSWER
    )


def test_expired_tasks_do_not_use_the_queue_limit(redis_url: str) -> None:
    """Expired tasks that never started do not count against the queue limit, even without further notes."""
    arranged = ArrangedRedis(redis_url, Keys())
    for number in range(QUOTA):
        arranged.store.submit(note_of(f"a-{number}", owner="a"), CALL, None)
        arranged.client.delete(arranged.keys.record(f"a-{number}"))

    assert isinstance(arranged.store.submit(note_of("a-9", owner="a"), CALL, None), Recorded)
    arranged.client.close()
    arranged.records.close()


def test_concurrent_submissions_keep_the_queue_limit(arranged: Arranged) -> None:
    """Concurrent submissions cannot exceed the queue limit."""
    if isinstance(arranged, ArrangedMemory):
        pytest.skip("the fake store is not thread-safe; the test is about Redis")

    def submit(number: int) -> bool:
        try:
            arranged.store.submit(note_of(f"a-{number}", owner="a"), CALL, None)
        except TooManyQueued:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(submit, range(64))) == QUOTA


@pytest.mark.parametrize("ended", ["by itself", "after a failed send"])
def test_a_lease_that_is_over(arranged: Arranged, ended: str) -> None:
    """After the lease the next request continues the first one's task with its own lease; another body is denied."""
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    if ended == "by itself":
        arranged.end_all_leases()
    else:
        arranged.store.end_lease(CLAIM, "t-1", None)

    assert arranged.store.submit(note_of("t-2"), CALL, OTHER) == Claimed(is_same=False, task_id="t-1", answer=None)
    assert arranged.store.submit(note_of("t-2"), CALL, CLAIM) == Interrupted("t-1")
    assert arranged.store.submit(note_of("t-3"), CALL, CLAIM) == Claimed(is_same=True, task_id="t-1", answer=None)
    assert arranged.record("t-2") is None
    assert arranged.record("t-1").seq == 1
    arranged.store.end_lease(CLAIM, "t-2", ANSWER)
    assert arranged.store.submit(note_of("t-4"), CALL, CLAIM) == Claimed(is_same=True, task_id="t-1", answer=ANSWER)


def test_only_the_holder_ends_a_lease(arranged: Arranged) -> None:
    """A slow request that has lost its lease neither answers for the next one nor ends its lease."""
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.end_all_leases()
    arranged.store.submit(note_of("t-2"), CALL, CLAIM)

    for answer in (None, ANSWER):
        arranged.store.end_lease(CLAIM, "t-1", answer)
        assert arranged.store.submit(note_of("t-3"), CALL, CLAIM) == Claimed(is_same=True, task_id="t-1", answer=None)
    arranged.store.end_lease(Claim(key="never", fingerprint=FINGERPRINT), "t-1", ANSWER)
    assert arranged.store.claimed(Claim(key="never", fingerprint=FINGERPRINT)) is None


def test_a_key_belongs_to_its_owner(arranged: Arranged) -> None:
    """Two owners can use the same key, also if the end of one's name is the start of the other's key."""
    owned = [
        Claim(key=key, fingerprint=FINGERPRINT, owner=owner) for owner, key in (("", "ab"), ("a", "b"), ("ab", ""))
    ]

    for number, claim in enumerate(owned):
        assert isinstance(arranged.store.submit(note_of(f"t-{number}"), CALL, claim), Recorded)


def test_an_unconfirmed_send_is_recorded(arranged: Arranged) -> None:
    """An unconfirmed send is recorded, and so is a later one that is confirmed."""
    arranged.store.submit(note_of("t-1"), CALL, None)
    arranged.store.submit(note_of("t-1", send_unconfirmed=True), CALL, None)
    assert arranged.record("t-1").send_unconfirmed
    arranged.store.submit(note_of("t-1", send_unconfirmed=False), CALL, None)
    assert not arranged.record("t-1").send_unconfirmed


def test_unreceived(arranged: Arranged) -> None:
    """A task that no worker has received in time is found by its state, with the data to send it again."""
    arranged.store.submit(note_of("waiting", queue="sums"), CALL, None)
    arranged.store.submit(note_of("retrying", queue="sums"), CALL, None)
    arranged.store.submit(note_of("received", queue="sums"), CALL, None)
    arranged.store.submit(note_of("unconfirmed", queue="sums", send_unconfirmed=True), CALL, None)
    arranged.note(Note(task_id="retrying", fact=Fact.RETRYING, attempt=2))
    arranged.note(Note(task_id="received", fact=Fact.RECEIVED))

    found = {
        state: arranged.store.unreceived(state, start=0, after_seconds=-1)
        for state in (TaskState.QUEUED, TaskState.RETRYING)
    }
    assert found[TaskState.QUEUED] == (0, [Unreceived("waiting", "sums", 0)])
    assert found[TaskState.RETRYING] == (0, [Unreceived("retrying", "sums", 3)])
    assert arranged.store.unreceived(TaskState.QUEUED, start=0, after_seconds=60) == (0, [])


@pytest.mark.parametrize("field", ["updated_at", "scheduled_for", "next_retry_at", "attempt"])
def test_unreceived_beside_a_broken_record(redis_url: str, field: str) -> None:
    """A record with an invalid field does not hide other unreceived tasks."""
    arranged = ArrangedRedis(redis_url, Keys())
    for task_id in ("a-broken", "waiting"):
        arranged.store.submit(note_of(task_id, queue="sums"), CALL, None)
    arranged.client.hset(Keys().record("a-broken"), FIELDS[field], "soon")

    _, found = arranged.store.unreceived(TaskState.QUEUED, start=0, after_seconds=-1)
    assert Unreceived("waiting", "sums", 0) in found


def test_a_scheduled_task_is_not_unreceived_before_it_is_due(arranged: Arranged) -> None:
    """A scheduled task is not reported as unreceived before it is due."""
    soon = datetime.now(UTC) + timedelta(hours=1)
    arranged.store.submit(note_of("t-1", queue="sums", scheduled_for=soon), CALL, None)

    assert arranged.store.unreceived(TaskState.QUEUED, start=0, after_seconds=-1) == (0, [])


def test_a_mark_expires(arranged: Arranged) -> None:
    """Only the first caller can mark a task as resent, until the mark expires."""
    assert [arranged.store.mark_resent("t-1", seconds=60) for _ in range(2)] == [True, False]
    assert arranged.store.mark_resent("t-2", seconds=60)


def test_each_search_continues_the_last_one(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each search continues where the last one ended, and starts again at the end of the index."""
    monkeypatch.setattr(submissions, "LOOKED_AT", 2)
    arranged = ArrangedRedis(redis_url, Keys())
    for number in range(5):
        arranged.store.submit(note_of(f"t-{number}", queue="sums"), CALL, None)

    seen, start = [], 0
    for _ in range(3):
        start, found = arranged.store.unreceived(TaskState.QUEUED, start=start, after_seconds=-1)
        seen += [one.task_id for one in found]
    assert (sorted(seen), start) == ([f"t-{number}" for number in range(5)], 0)
    arranged.client.close()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 640, 4_096, 4_097, 100_000])
def test_answers_of_any_size(arranged: Arranged, size: int) -> None:
    """An answer of any size and any bytes is stored unchanged."""
    answer = bytes(number % 256 for number in range(size))
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.store.end_lease(CLAIM, "t-1", answer)

    assert arranged.store.submit(note_of("t-2"), CALL, CLAIM) == Claimed(True, "t-1", answer)
    assert arranged.store.claimed(CLAIM) == Claimed(True, "t-1", answer)


def test_an_answer_is_not_replaced(arranged: Arranged) -> None:
    """A late end of a lease does not replace the stored answer."""
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    for answer in (ANSWER, b"late", None):
        arranged.store.end_lease(CLAIM, "t-1", answer)

    assert arranged.store.claimed(CLAIM) == Claimed(True, "t-1", ANSWER)


def test_a_claim_is_small(redis_url: str) -> None:
    """A claim is one listpack, and that of a new task uses less than 300 bytes."""
    arranged = ArrangedRedis(redis_url, Keys())
    client = arranged.client
    arranged.store.submit(note_of(str(uuid4())), CALL, CLAIM)
    key = Keys().claim("", CLAIM.key)

    assert client.object("ENCODING", key) in (b"listpack", b"ziplist")
    arranged.store.end_lease(CLAIM, client.hget(key, "t").decode(), bytes(range(30)))
    assert client.memory_usage(key) < 300
    client.delete(key)
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.store.end_lease(CLAIM, "t-1", bytes(4_096))
    assert client.object("ENCODING", key) in (b"listpack", b"ziplist")
    client.close()


def test_a_lease_ends_in_a_full_redis(redis_server: RedisServer) -> None:
    """A lease without an answer ends although Redis is out of memory, so that a later request can continue."""
    arranged = ArrangedRedis(redis_server.url, Keys())
    arranged.client.flushall()
    arranged.store.submit(note_of("t-1"), CALL, CLAIM)
    arranged.client.config_set("maxmemory", 1)
    try:
        arranged.store.end_lease(CLAIM, "t-1", None)
        with pytest.raises(StoreFull):
            arranged.store.submit(note_of("t-2"), CALL, CLAIM)
    finally:
        arranged.client.config_set("maxmemory", 0)

    assert arranged.store.submit(note_of("t-2"), CALL, CLAIM) == Interrupted("t-1")
    arranged.client.close()


def test_a_claim_lives_as_long_as_a_short_record(redis_url: str) -> None:
    """With records that live less than a day, a claim expires with its record, which each note extends."""
    client: Any = redis.Redis.from_url(redis_url)
    connection = connect_to(redis_url, sentinel_master="")
    retention = Retention(record_seconds=600)
    store = RedisSubmissionStore(connection, keys=Keys(), retention=retention)
    records = RedisStore(connection, results=None, keys=Keys(), retention=retention)
    store.submit(note_of("t-1"), CALL, CLAIM)
    key = Keys().claim("", CLAIM.key)
    assert 595 <= client.ttl(key) <= 600

    client.expire(key, 10)
    records.note(Note(task_id="t-1", fact=Fact.STARTED))
    assert 595 <= client.ttl(key) <= 600

    later = datetime.now(UTC) + timedelta(days=2)
    other = msgspec.structs.replace(CLAIM, key="order-2")
    store.submit(note_of("t-2", scheduled_for=later), CALL, other)
    assert CLAIM_SECONDS - 5 <= client.ttl(Keys().claim("", "order-2")) <= CLAIM_SECONDS
    client.close()
    records.close()


@pytest.mark.parametrize("value", ["string", "list", "no task", "no number", "a far future"])
def test_a_broken_claim_harms_nothing(redis_url: str, value: str) -> None:
    """A claim of another type, or with invalid fields, does not fail a request and does not block its key."""
    arranged = ArrangedRedis(redis_url, Keys())
    client, key = arranged.client, Keys().claim("", CLAIM.key)
    if value in ("string", "list"):
        client.set(key, "x") if value == "string" else client.lpush(key, "x")
    else:
        arranged.store.submit(note_of("t-1"), CALL, CLAIM)
        wrong = {"no task": ("t", None), "no number": ("u", "soon"), "a far future": ("u", "9" * 15)}[value]
        client.hset(key, *wrong) if wrong[1] else client.hdel(key, wrong[0])

    arranged.store.end_lease(CLAIM, "t-9", ANSWER)
    arranged.store.claimed(CLAIM)
    assert isinstance(arranged.store.submit(note_of("t-2"), CALL, CLAIM), Recorded | Interrupted)
    arranged.store.end_lease(CLAIM, "t-2", ANSWER)
    claimed = arranged.store.claimed(CLAIM)
    assert claimed is not None
    assert claimed.answer == ANSWER
    client.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("ab"), st.sampled_from("fg")),
        st.tuples(st.just("end"), st.sampled_from("ab"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("lapse")),
    ),
    max_size=25,
)


def outcomes(arranged: Arranged, steps: list[tuple[Any, ...]]) -> list[object]:
    """Take steps, and return the answer to each request without its times."""
    told: list[object] = []
    for number, (step, *rest) in enumerate(steps):
        if step == "lapse":
            arranged.end_all_leases()
        elif step == "submit":
            key, fingerprint = rest
            claim = Claim(key=key, fingerprint=FINGERPRINT if fingerprint == "f" else fingerprint.encode() * 16)
            found = arranged.store.submit(note_of(f"t-{number}"), CALL, claim)
            told.append(None if isinstance(found, Recorded) else found)
        else:
            key, holder, is_sent = rest
            claim = Claim(key=key, fingerprint=FINGERPRINT)
            arranged.store.end_lease(claim, f"t-{holder}", b"answer %d" % number if is_sent else None)
            told.append(arranged.store.claimed(claim))
    return told


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_store_does_what_its_model_says(redis_server: RedisServer, steps: list[tuple[Any, ...]]) -> None:
    """In any order of requests, sends, losses and delays, the script does the same as its model."""
    real = ArrangedRedis(redis_server.url, Keys())
    real.client.flushall()

    assert outcomes(real, steps) == outcomes(ArrangedMemory(), steps)
    real.client.close()


def test_round_trips(redis_url: str) -> None:
    """Each call is one round trip."""
    client = counting_client(redis_url)
    store = RedisSubmissionStore(client, keys=Keys(), retention=Retention())
    store.submit(note_of("t-0"), CALL, None)  # connects, and loads the scripts
    store.end_lease(CLAIM, "t-0", None)
    for use in (
        lambda: store.submit(note_of("t-1"), CALL, None),
        lambda: store.submit(note_of("t-2"), CALL, CLAIM),
        lambda: store.submit(note_of("t-3"), CALL, CLAIM),
        lambda: store.end_lease(CLAIM, "t-2", ANSWER),
        lambda: store.claimed(CLAIM),
        lambda: store.call("t-1"),
    ):
        SENT.clear()
        use()
        assert len(SENT) == 1
    client.close()


def test_what_is_in_redis(redis_url: str) -> None:
    """Redis holds only a hash of a key, a claim expires after a day, and a call expires with its record."""
    arranged = ArrangedRedis(redis_url, Keys())
    client = arranged.client
    hostile = Claim(key="*?[a]\\{}%00", fingerprint=FINGERPRINT)
    large = Call(name="demo.add", args=["x" * 1_000])
    arranged.store.submit(note_of("t-1"), large, hostile)
    later = datetime.now(UTC) + timedelta(days=30)
    arranged.store.submit(note_of("t-2", scheduled_for=later), large, None)

    [claim] = client.keys("task-status:claim:*")
    assert claim.decode() == Keys().claim("", hostile.key)
    assert not any(hostile.key.encode() in key for key in client.keys("*"))
    assert CLAIM_SECONDS - 5 <= client.ttl(claim) <= CLAIM_SECONDS
    for task_id in ("t-1", "t-2"):
        ends_at = int(client.hget(Keys().record(task_id), FIELDS["valid_until"]))
        assert abs(client.time()[0] + client.ttl(Keys().call(task_id)) - ends_at) <= 2
    client.set(Keys().call("t-1"), b"garbage")
    assert arranged.store.call("t-1") is None
    client.close()


class RealParts:
    """A submitter over a real Redis, with a broker in memory."""

    def __init__(self, url: str) -> None:
        client = connect_to(url, sentinel_master="")
        self.store = RedisStore(client, results=None, keys=Keys(), retention=Retention())
        self.submissions = RedisSubmissionStore(client, keys=Keys(), retention=Retention())
        self.broker = MemoryBroker()
        self.tracker = create_tracker(self.store, self.broker, final_states={})
        self.submitter = Submitter(
            self.tracker,
            self.submissions,
            self.broker,
            Catalog(RedisAnnouncements(client, keys=Keys()), allowed=TaskNames.parse("demo.*")),
            default_queue="celery",
        )

    def insist(self, key: str) -> Accepted:
        """Submit and retry, as a patient client does, until there is an answer."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.submitter.submit(
                    Submission(call=Call(name="demo.add")), ANYBODY, Claim(key=key, fingerprint=FINGERPRINT)
                )
            except (IdempotencyInFlight, BrokerUnavailable):
                assert time.monotonic() < deadline
                time.sleep(0.01)


@pytest.fixture
def real(redis_url: str) -> Iterator[RealParts]:
    """Return a submitter over a real Redis."""
    parts = RealParts(redis_url)
    yield parts
    parts.store.close()


def test_concurrent_requests_with_one_key_are_one_task(real: RealParts) -> None:
    """Of 64 concurrent requests with a few keys, each key has one task, one message and one answer."""
    keys = [f"order-{number}" for number in range(10)]
    together = threading.Barrier(64)

    def ask_all(_: int) -> list[Accepted]:
        together.wait()
        return [real.insist(key) for key in keys]

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask_all, range(64)))

    for index in range(len(keys)):
        of_key = [answer[index] for answer in answers]
        assert len({msgspec.json.encode(answer.status) for answer in of_key}) == 1
        assert Counter(answer.is_replayed for answer in of_key) == {True: 63, False: 1}
    assert len(real.broker.sent) == len({task_id for task_id, *_ in real.broker.sent}) == len(keys)


def test_race_with_a_broker_that_fails(real: RealParts) -> None:
    """With a broker that fails at times, each key has one task, whose message is sent at least once."""
    sends, count, lock = real.broker.send, iter(range(1_000_000)), threading.Lock()

    def send(task_id: str, submission: Submission, *, queue: str) -> None:
        with lock:
            number = next(count)
        if number % 3 != 2:
            if number % 3 == 1:  # the message arrives, but its send is not confirmed
                sends(task_id, submission, queue=queue)
            raise BrokerUnavailable
        sends(task_id, submission, queue=queue)

    real.broker.send = send  # type: ignore[method-assign]
    keys = [f"order-{number}" for number in range(5)]
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(lambda number: real.insist(keys[number % 5]).status.id, range(80)))

    assert [len(set(ids[index::5])) for index in range(5)] == [1] * 5
    assert {task_id for task_id, *_ in real.broker.sent} == set(ids)


def test_killed_between_claim_and_send(real: RealParts, redis_url: str) -> None:
    """A task that was recorded but not sent before a crash is sent by the next request after the lease."""
    submission, claim = Submission(call=Call(name="demo.add", args=[1])), Claim(key="order-1", fingerprint=FINGERPRINT)
    real.submissions.submit(note_of("t-1", queue="celery"), Call(name="demo.add", args=[1]), claim)
    with pytest.raises(IdempotencyInFlight):
        real.submitter.submit(submission, ANYBODY, claim)

    ArrangedRedis(redis_url, Keys()).end_all_leases()
    accepted = real.submitter.submit(submission, ANYBODY, claim)

    assert (accepted.status.id, accepted.is_replayed) == ("t-1", False)
    assert [(task_id, sent.call.args) for task_id, sent, _ in real.broker.sent] == [("t-1", [1])]
    assert real.submitter.submit(submission, ANYBODY, claim) == Accepted(accepted.status, is_replayed=True)
    assert real.tracker.status("t-1", ANYBODY).status == accepted.status
