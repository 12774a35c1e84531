"""The store of records: the fake and the Redis store pass the same tests."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import redis
from support.expiry import expire_now
from support.fakes import MemoryStore
from support.round_trips import SENT, counting_client
from support.servers import running_redis
from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.status import MAX_STORED_BYTES, Snapshot, TaskState
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import RedisSubmissionStore
from task_status_service.use_cases.listing import MAX_LOOKED_AT, Filter, IndexPage, Position
from task_status_service.use_cases.submission import Call
from task_status_worker.record.codec import unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

SUBMITTED = Note(task_id="t-1", fact=Fact.SUBMITTED, name="demo.add", labels={"a": "b"})


class StoreUnderTest(Protocol):
    """A store, and the writes of Celery and the workers to it."""

    store: Any

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None: ...
    def beat(self) -> None: ...
    def expire_record(self, task_id: str) -> None: ...
    def pass_time(self) -> None: ...


class FakeUnderTest:
    """The fake store."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None:
        self.store.metas[task_id] = meta

    def beat(self) -> None:
        self.store.worker_seen = 0.0

    def expire_record(self, task_id: str) -> None:
        del self.store.records[task_id]

    def pass_time(self) -> None:
        self.store.time += timedelta(milliseconds=2)


class RedisUnderTest:
    """The Redis store on a real Redis."""

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

    def beat(self) -> None:
        self.client.zadd(self.keys.workers, {"celery@here": self.client.time()[0]})

    def expire_record(self, task_id: str) -> None:
        expire_now(self.client, self.keys, task_id)

    def pass_time(self) -> None:
        time.sleep(0.002)

    def close(self) -> None:
        self.store.close()
        self.client.close()
        self.results.close()


@pytest.fixture(params=["memory", "redis", "redis with a prefix", "redis with results elsewhere"])
def arranged(request: pytest.FixtureRequest) -> Iterator[StoreUnderTest]:
    """An empty store of each kind."""
    if request.param == "memory":
        yield FakeUnderTest()
        return
    url = request.getfixturevalue("redis_url")
    elsewhere = url.removesuffix("/0") + "/1" if request.param.endswith("elsewhere") else None
    arranged = RedisUnderTest(url, keys=Keys.under("app" if "prefix" in request.param else None), results_url=elsewhere)
    yield arranged
    arranged.close()


def test_an_unknown_id_reads_as_empty(arranged: StoreUnderTest) -> None:
    """An unused id has no record, no meta and no tombstone."""
    snapshot = arranged.store.read("t-1")

    assert (dict(snapshot.record), snapshot.meta, snapshot.wrong_type, snapshot.known) == ({}, None, False, False)


def test_reads_a_note(arranged: StoreUnderTest) -> None:
    """The record contains the fields of the note, and the id is known."""
    noted_at = arranged.store.note(SUBMITTED)

    snapshot = arranged.store.read("t-1")
    record = unpack(snapshot.record)
    assert (record.fact, record.name, record.labels, record.seq) == (Fact.SUBMITTED, "demo.add", {"a": "b"}, 1)
    assert record.submitted_at == record.updated_at == noted_at
    assert snapshot.known


def test_a_record_only_advances(arranged: StoreUnderTest) -> None:
    """A late fact does not replace a later one, and a final fact stays."""
    for fact in (Fact.SUBMITTED, Fact.STARTED, Fact.RECEIVED, Fact.FINISHED, Fact.STARTED):
        arranged.store.note(Note(task_id="t-1", fact=fact, outcome="SUCCESS" if fact is Fact.FINISHED else None))

    record = unpack(arranged.store.read("t-1").record)
    assert (record.fact, record.outcome, record.final) == (Fact.FINISHED, "SUCCESS", True)
    assert (record.executions, record.late) == (2, 1)


def test_reads_a_meta_unchanged(arranged: StoreUnderTest) -> None:
    """A meta is returned with the bytes that Celery stored."""
    arranged.put_meta("t-1", b"\x00\xffanything")

    snapshot = arranged.store.read("t-1")

    assert (snapshot.meta, snapshot.wrong_type, snapshot.known) == (b"\x00\xffanything", False, False)


def test_limits_the_bytes_read_of_a_meta(arranged: StoreUnderTest) -> None:
    """A too large meta is read up to one byte more than the limit."""
    arranged.put_meta("t-1", b"x" * (MAX_STORED_BYTES + 1_000))

    assert len(arranged.store.read("t-1").meta) == MAX_STORED_BYTES + 1


def test_reports_a_meta_of_another_redis_type(arranged: StoreUnderTest) -> None:
    """A meta key that is not a string is reported, and the record is still read."""
    arranged.store.note(SUBMITTED)
    arranged.put_meta("t-1", [b"a", b"list"])

    snapshot = arranged.store.read("t-1")

    assert (snapshot.meta, snapshot.wrong_type) == (None, True)
    assert unpack(snapshot.record).fact is Fact.SUBMITTED


def test_an_expired_task_is_still_known(arranged: StoreUnderTest) -> None:
    """The id of a task is known after its record has expired."""
    arranged.store.note(SUBMITTED)
    arranged.expire_record("t-1")

    snapshot = arranged.store.read("t-1")

    assert (dict(snapshot.record), snapshot.known) == ({}, True)


def test_reading_many_equals_reading_each(arranged: StoreUnderTest) -> None:
    """Tasks are read in the requested order, each with the same snapshot as when it is read alone."""
    arranged.store.note(SUBMITTED)
    arranged.store.note(Note(task_id="t-2", fact=Fact.STARTED))
    arranged.put_meta("t-1", [b"a", b"list"])
    arranged.put_meta("t-3", b"x" * (MAX_STORED_BYTES + 1_000))
    ids = ["t-3", "t-0", "t-1", "t-2"]

    assert list(arranged.store.read_many(ids)) == [arranged.store.read(task_id) for task_id in ids]
    assert list(arranged.store.read_many([])) == []


FINISHED = Note(task_id="t-1", fact=Fact.FINISHED, name="demo.add", outcome="SUCCESS")


@pytest.mark.parametrize("has_meta", [True, False])
def test_forgets_an_ended_task(arranged: StoreUnderTest, has_meta: bool) -> None:
    """Forgetting deletes all data of a task, also in the index, and does not change another task."""
    other = Note(task_id="t-2", fact=Fact.FINISHED, name="demo.add", outcome="SUCCESS")
    for note in (SUBMITTED, FINISHED, other):
        arranged.store.note(note)
    if has_meta:
        arranged.put_meta("t-1", b"{}")
    seen = arranged.store.read("t-1")
    # The task stays ended after a late note.
    arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED))

    assert arranged.store.forget(seen)

    snapshot = arranged.store.read("t-1")
    assert (snapshot.is_empty, snapshot.known) == (True, False)
    assert walk(arranged) == walk(arranged, name="demo.add") == ["t-2"]
    assert not arranged.store.read("t-2").is_empty


@pytest.mark.parametrize("has_record", [True, False])
def test_forgets_a_task_only_if_it_is_unchanged(arranged: StoreUnderTest, has_record: bool) -> None:
    """A task that only its meta reports as ended is not forgotten if a note followed the read."""
    if has_record:
        arranged.store.note(SUBMITTED)
    arranged.put_meta("t-1", b"{}")
    seen = arranged.store.read("t-1")
    arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED))
    now = arranged.store.read("t-1")

    assert not arranged.store.forget(seen)
    assert arranged.store.read("t-1") == now
    assert arranged.store.forget(now)
    assert arranged.store.read("t-1").is_empty


def walk(arranged: StoreUnderTest, limit: int = 50, **wanted: Any) -> list[str]:
    """Return the ids of all pages."""
    ids: list[str] = []
    after: Position | None = None
    while True:
        page: IndexPage = arranged.store.page(Filter(**wanted), limit=limit, after=after)
        assert len(page.task_ids) <= limit
        ids += page.task_ids
        after = page.next
        if after is None:
            return ids


@pytest.fixture
def listed(arranged: StoreUnderTest) -> StoreUnderTest:
    """A store with six tasks, each later than the one before: two queued, one running, three ended."""
    for number, (name, facts, outcome) in enumerate(
        [
            ("demo.add", (Fact.SUBMITTED,), None),
            ("demo.add", (Fact.SUBMITTED, Fact.STARTED, Fact.FINISHED), "FAILURE"),
            ("demo.mul", (Fact.SUBMITTED, Fact.STARTED), None),
            ("demo.mul", (Fact.STARTED, Fact.FINISHED), "SUCCESS"),
            ("demo.mul", (Fact.SUBMITTED, Fact.STARTED, Fact.FINISHED), "FAILURE"),
            ("demo.add", (Fact.SUBMITTED,), None),
        ]
    ):
        labels = {"parity": "even" if number % 2 == 0 else "odd", "number": str(number)}
        for fact in facts:
            ended = outcome if fact is Fact.FINISHED else None
            arranged.store.note(Note(task_id=f"t-{number}", fact=fact, name=name, labels=labels, outcome=ended))
        arranged.pass_time()
    return arranged


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 50])
@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, "543210"),
        ({"states": [TaskState.QUEUED]}, "50"),
        ({"states": [TaskState.FAILED, TaskState.SUCCEEDED]}, "431"),
        ({"states": [TaskState.CANCELED]}, ""),
        ({"name": "demo.mul"}, "432"),
        ({"name": "demo.none"}, ""),
        ({"name": "demo.add", "states": [TaskState.QUEUED]}, "50"),
        ({"name": "demo.mul", "states": [TaskState.FAILED, TaskState.RUNNING]}, "42"),
        ({"labels": {"parity": "even"}}, "420"),
        ({"labels": {"parity": "even", "number": "2"}}, "2"),
        ({"labels": {"parity": "even", "number": "3"}}, ""),
        ({"labels": {"parity": "odd"}, "states": [TaskState.FAILED, TaskState.QUEUED], "name": "demo.add"}, "51"),
    ],
)
def test_pages_list_the_matching_tasks(
    listed: StoreUnderTest, limit: int, wanted: dict[str, Any], numbers: str
) -> None:
    """For any filter and page size the pages list each matching task once, newest first."""
    assert walk(listed, limit, **wanted) == [f"t-{number}" for number in numbers]


@pytest.mark.parametrize("filters", [{}, {"name": "demo.add"}, {"states": [TaskState.QUEUED]}])
def test_pages_are_limited_by_submission_time(listed: StoreUnderTest, filters: dict[str, Any]) -> None:
    """The tasks from a time on and those before it are disjoint, and together all tasks."""
    everything = walk(listed, **filters)
    bound = unpack(listed.store.read("t-3").record).started_at
    later = walk(listed, submitted_after=bound, **filters)
    earlier = walk(listed, 1, submitted_before=bound, **filters)

    assert later + earlier == everything
    assert "t-5" in later
    assert "t-0" in earlier
    assert walk(listed, submitted_after=bound, submitted_before=bound, **filters) == []


def test_pages_order_tasks_of_one_millisecond_by_id(arranged: StoreUnderTest) -> None:
    """Tasks of one millisecond are ordered by the bytes of their ids, descending; a page may start at any of them."""
    ids = [f"{first}{second}" for first in "aBé-_" for second in "aB:1"]
    for task_id in ids:
        fact = Fact.STARTED if "B" in task_id else Fact.SUBMITTED
        arranged.store.note(Note(task_id=task_id, fact=fact, name="demo.add"))
    at = {
        task_id: int(snapshot.record[b"indexed_at"])
        for task_id, snapshot in zip(ids, arranged.store.read_many(ids), strict=True)
    }
    expected = sorted(ids, key=lambda task_id: (at[task_id], task_id.encode()), reverse=True)

    for limit in (1, 3, 50):
        assert walk(arranged, limit) == walk(arranged, limit, name="demo.add") == expected
    for task_id in [*ids, "B", "z"]:
        at_ms = at.get(task_id, max(at.values()))
        page = arranged.store.page(Filter(), limit=50, after=Position(at_ms, task_id))
        assert page.task_ids == [one for one in expected if (at[one], one.encode()) < (at_ms, task_id.encode())]


def test_a_page_starts_after_a_task_that_moved(listed: StoreUnderTest) -> None:
    """The next page starts where the previous one ended, although its last task has changed its state."""
    page = listed.store.page(Filter(states=[TaskState.QUEUED, TaskState.RUNNING]), limit=2, after=None)
    assert page.task_ids == ["t-5", "t-2"]
    listed.store.note(Note(task_id="t-2", fact=Fact.FINISHED, outcome="SUCCESS"))
    listed.store.note(Note(task_id="t-6", fact=Fact.SUBMITTED))

    after = listed.store.page(Filter(states=[TaskState.QUEUED, TaskState.RUNNING]), limit=2, after=page.next)

    assert (after.task_ids, after.next) == (["t-0"], None)


def test_a_page_looks_at_a_limited_number_of_tasks(arranged: StoreUnderTest) -> None:
    """A page may be empty and have a next one if few tasks match; a later page lists them."""
    arranged.store.note(Note(task_id="rare", fact=Fact.SUBMITTED, labels={"a": "b", "c": "d"}))
    arranged.pass_time()
    for number in range(MAX_LOOKED_AT + 5):
        for labels in ({"a": "b"}, {"c": "d"}):
            arranged.store.note(Note(task_id=f"t-{number}-{min(labels)}", fact=Fact.SUBMITTED, labels=labels))

    wanted = Filter(labels={"a": "b", "c": "d"})
    page = arranged.store.page(wanted, limit=1, after=None)
    assert page.task_ids == []
    assert page.next is not None
    page = arranged.store.page(wanted, limit=1, after=page.next)
    assert (page.task_ids, page.next) == (["rare"], None)


def test_a_page_of_one_label_is_full(arranged: StoreUnderTest) -> None:
    """The index answers a filter by one label, so its pages are full and cost no more than others."""
    arranged.store.note(Note(task_id="rare", fact=Fact.SUBMITTED, labels={"a": "b"}))
    arranged.pass_time()
    for number in range(MAX_LOOKED_AT + 5):
        arranged.store.note(Note(task_id=f"t-{number}", fact=Fact.SUBMITTED, labels={"a": "c"}))

    page = arranged.store.page(Filter(labels={"a": "b"}), limit=1, after=None)
    assert (page.task_ids, page.next) == (["rare"], None)


def test_reports_the_last_heartbeat_of_any_worker(arranged: StoreUnderTest) -> None:
    """The report contains the seconds since the last heartbeat of any worker."""
    assert arranged.store.report().worker_seen_seconds is None
    arranged.beat()
    assert arranged.store.report().worker_seen_seconds < 5


def test_each_use_is_one_round_trip(redis_url: str) -> None:
    """Reading one task or many, a note and a page take one round trip each."""
    store = RedisStore(counting_client(redis_url), results=None, keys=Keys(), retention=Retention())
    store.read("t-1")  # connects
    store.note(SUBMITTED)  # connects and loads the script
    store.page(Filter(), limit=1, after=None)
    many = [f"t-{number}" for number in range(100)]
    for use in (
        lambda: store.read("t-1"),
        lambda: store.note(SUBMITTED),
        lambda: list(store.read_many(many)),
        lambda: store.page(Filter(states=[TaskState.QUEUED]), limit=200, after=None),
    ):
        SENT.clear()
        use()
        assert len(SENT) == 1
    store.close()


def test_reads_the_owner(arranged: StoreUnderTest) -> None:
    """Every read returns the owner, also after the record has expired, until the task is forgotten."""
    for task_id, owner in (("t-1", "web"), ("t-2", None), ("t-3", "app")):
        arranged.store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, owner=owner))
    arranged.put_meta("t-4", b"{}")

    ids = ["t-1", "t-2", "t-3", "t-4"]
    assert [one.owner for one in arranged.store.read_many(ids)] == ["web", None, "app", None]
    assert [arranged.store.read(task_id).owner for task_id in ids] == ["web", None, "app", None]
    arranged.expire_record("t-1")
    snapshot = arranged.store.read("t-1")
    assert (snapshot.is_empty, snapshot.known, snapshot.owner) == (True, True, "web")
    arranged.store.note(Note(task_id="t-3", fact=Fact.FINISHED, outcome="SUCCESS"))
    assert arranged.store.forget(arranged.store.read("t-3"))
    assert arranged.store.read("t-3").owner is None


def test_pages_of_one_owner(arranged: StoreUnderTest) -> None:
    """The pages of an owner are full and contain only its own tasks, with every filter."""
    for number in range(9):
        owner = ["web", "app", None][number % 3]
        arranged.store.note(
            Note(task_id=f"t-{number}", fact=Fact.SUBMITTED, name="demo.add", owner=owner, labels={"a": "b"})
        )
        arranged.pass_time()
    arranged.store.note(Note(task_id="t-3", fact=Fact.STARTED))

    for narrow, expected in (
        ({}, ["t-6", "t-3", "t-0"]),
        ({"states": [TaskState.QUEUED]}, ["t-6", "t-0"]),
        ({"name": "demo.add"}, ["t-6", "t-3", "t-0"]),
        ({"name": "demo.add", "states": [TaskState.RUNNING]}, ["t-3"]),
        ({"labels": {"a": "b"}}, ["t-6", "t-3", "t-0"]),
    ):
        found: list[str] = []
        after = None
        while len(found) < len(expected):
            page = arranged.store.page(Filter(owner="web", **narrow), limit=1, after=after)
            assert len(page.task_ids) == 1
            found += page.task_ids
            after = page.next
        assert found == expected
        assert not arranged.store.page(Filter(owner="web", **narrow), limit=1, after=after).task_ids or after is None
    assert arranged.store.page(Filter(owner="nobody"), limit=9, after=None) == IndexPage([], None)


def test_a_scheduled_task_expires_later(redis_url: str) -> None:
    """The TTL of a scheduled task is longer by the time until it is due."""
    arranged = RedisUnderTest(redis_url, keys=Keys())
    week = Retention().record_seconds
    arranged.store.note(SUBMITTED)
    arranged.store.note(Note(task_id="t-2", fact=Fact.SUBMITTED, scheduled_for=datetime.now(UTC) + timedelta(days=30)))

    ends = [int(one.record[b"valid_until"]) for one in arranged.store.read_many(["t-1", "t-2"])]
    seconds_left = [end - arranged.client.time()[0] for end in ends]
    assert week - 60 <= seconds_left[0] <= week
    assert seconds_left[1] > week + 29 * 86_400
    for task_id, seconds in zip(("t-1", "t-2"), seconds_left, strict=True):
        assert arranged.client.ttl(arranged.keys.record(task_id)) >= seconds + Retention().known_seconds
    arranged.close()


def test_forgetting_deletes_all_keys(redis_url: str) -> None:
    """Forgetting a task deletes all its keys and index entries, for any state and name."""
    arranged = RedisUnderTest(redis_url, keys=Keys())
    submissions = RedisSubmissionStore(connect_to(redis_url, sentinel_master=""), keys=Keys(), retention=Retention())
    for task_id, name, fact in (("t-1", "demo.add", Fact.FINISHED), ("t-2", None, Fact.REVOKED), ("t-3", "é", None)):
        owner = "web" if fact is not Fact.REVOKED else None
        submitted = Note(task_id=task_id, fact=Fact.SUBMITTED, name=name, owner=owner)
        submissions.submit(submitted, Call(name="demo.add"), None)
        arranged.store.note(Note(task_id=task_id, fact=fact, outcome="FAILURE", cancel_requested=fact is None))
        arranged.put_meta(task_id, [b"a list"])
        assert arranged.store.forget(arranged.store.read(task_id))
        left = {key.decode() for key in arranged.client.keys("*")}
        # The index by expiry ignores a forgotten task when it is due.
        assert {key for key in left if not key.startswith(Keys().index_by_expiry)} == {Keys().epoch, Keys().index_keys}
    arranged.close()


def test_an_outage_raises_and_ends(tmp_path: Any) -> None:
    """Without Redis every use raises; after its restart each works again, although Redis has lost the script."""
    with running_redis(tmp_path) as server:
        store = RedisStore(connect_to(server.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
        store.note(SUBMITTED)
        server.stop()
        uses = (
            lambda: store.read("t-1"),
            lambda: store.note(SUBMITTED),
            lambda: store.forget(Snapshot(task_id="t-1")),
        )
        for use in uses:
            with pytest.raises(StoreUnavailable):
                use()
        server.start()
        store.note(SUBMITTED)
        assert store.read("t-1").record
        store.close()


def test_a_full_redis_raises_store_full(tmp_path: Any) -> None:
    """A note to a full Redis raises `StoreFull`, and reads continue."""
    with running_redis(tmp_path) as server, server.client() as client:
        store = RedisStore(connect_to(server.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
        store.note(SUBMITTED)
        client.config_set("maxmemory", 1)
        with pytest.raises(StoreFull):
            store.note(SUBMITTED)
        assert store.read("t-1").record
        store.close()


def test_a_replica_raises_store_unavailable(redis_url: str) -> None:
    """A note to a Redis that became a replica raises `StoreUnavailable`, not `StoreFull`."""
    arranged = RedisUnderTest(redis_url, keys=Keys())
    arranged.client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(StoreUnavailable) as raised:
            arranged.store.note(SUBMITTED)
        assert not isinstance(raised.value, StoreFull)
    finally:
        arranged.client.replicaof("no", "one")
        arranged.close()
