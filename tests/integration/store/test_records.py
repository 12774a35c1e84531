"""What the tracker may expect of a store: the fake and Redis pass the same tests."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import redis
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


class Arranged(Protocol):
    """A store, and the hands of Celery and the workers behind it."""

    store: Any

    def put_meta(self, task_id: str, meta: bytes | list[bytes]) -> None: ...
    def announce(self, name: bytes, announcement: bytes) -> None: ...
    def see_worker(self) -> None: ...
    def serve(self, instance: str, serving: bytes) -> None: ...
    def forget_record(self, task_id: str) -> None: ...
    def pass_time(self) -> None: ...


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

    def serve(self, instance: str, serving: bytes) -> None:
        self.store.consumer_entries[instance] = serving

    def forget_record(self, task_id: str) -> None:
        del self.store.records[task_id]

    def pass_time(self) -> None:
        self.store.time += timedelta(milliseconds=2)


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

    def serve(self, instance: str, serving: bytes) -> None:
        self.client.zadd(self.keys.workers, {instance: self.client.time()[0]})
        self.client.hset(self.keys.consumers, instance, serving)

    def forget_record(self, task_id: str) -> None:
        self.client.delete(self.keys.record(task_id))

    def pass_time(self) -> None:
        time.sleep(0.002)

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


def test_reads_many_as_it_reads_one(arranged: Arranged) -> None:
    """Several are read in the order asked, each as it would be alone, also what is of another type."""
    arranged.store.note(SUBMITTED)
    arranged.store.note(Note(task_id="t-2", fact=Fact.STARTED))
    arranged.put_meta("t-1", [b"a", b"list"])
    arranged.put_meta("t-3", b"x" * (MAX_STORED_BYTES + 1_000))
    ids = ["t-3", "t-0", "t-1", "t-2"]

    assert list(arranged.store.read_many(ids)) == [arranged.store.read(task_id) for task_id in ids]
    assert list(arranged.store.read_many([])) == []


FINISHED = Note(task_id="t-1", fact=Fact.FINISHED, name="demo.add", outcome="SUCCESS")


@pytest.mark.parametrize("has_meta", [True, False])
def test_forgets_what_is_final(arranged: Arranged, has_meta: bool) -> None:
    """All that is kept of a task is gone, its places in the index too; another task stays as it is."""
    other = Note(task_id="t-2", fact=Fact.FINISHED, name="demo.add", outcome="SUCCESS")
    for note in (SUBMITTED, FINISHED, other):
        arranged.store.note(note)
    if has_meta:
        arranged.put_meta("t-1", b"{}")
    seen = arranged.store.read("t-1")
    # A late note does not make it less final.
    arranged.store.note(Note(task_id="t-1", fact=Fact.STARTED))

    assert arranged.store.forget(seen)

    snapshot = arranged.store.read("t-1")
    assert (snapshot.is_empty, snapshot.known) == (True, False)
    assert walk(arranged) == walk(arranged, name="demo.add") == ["t-2"]
    assert not arranged.store.read("t-2").is_empty


@pytest.mark.parametrize("has_record", [True, False])
def test_forgets_what_its_meta_says_is_done(arranged: Arranged, has_record: bool) -> None:
    """As long as nothing was noted since; else nothing is touched."""
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


def walk(arranged: Arranged, limit: int = 50, **wanted: Any) -> list[str]:
    """Give the ids of all pages."""
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
def listed(arranged: Arranged) -> Arranged:
    """Give a store with six tasks, one later than the other: two queued, one running, three ended."""
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
def test_pages(listed: Arranged, limit: int, wanted: dict[str, Any], numbers: str) -> None:
    """Whatever the filter and the length of a page, the walk gives what fits, newest first, once."""
    assert walk(listed, limit, **wanted) == [f"t-{number}" for number in numbers]


@pytest.mark.parametrize("filters", [{}, {"name": "demo.add"}, {"states": [TaskState.QUEUED]}])
def test_pages_within_a_time(listed: Arranged, filters: dict[str, Any]) -> None:
    """From a time on, and before a time: two walks that share a bound share no task and miss none."""
    everything = walk(listed, **filters)
    bound = unpack(listed.store.read("t-3").record).started_at
    later = walk(listed, submitted_after=bound, **filters)
    earlier = walk(listed, 1, submitted_before=bound, **filters)

    assert later + earlier == everything
    assert "t-5" in later
    assert "t-0" in earlier
    assert walk(listed, submitted_after=bound, submitted_before=bound, **filters) == []


def test_pages_among_ties(arranged: Arranged) -> None:
    """Tasks of one millisecond come by id, descending by its bytes; a position among them is exact, wherever it is."""
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


def test_a_position_outlives_its_task(listed: Arranged) -> None:
    """The next page begins where the last one ended, whatever became of the task there."""
    page = listed.store.page(Filter(states=[TaskState.QUEUED, TaskState.RUNNING]), limit=2, after=None)
    assert page.task_ids == ["t-5", "t-2"]
    listed.store.note(Note(task_id="t-2", fact=Fact.FINISHED, outcome="SUCCESS"))
    listed.store.note(Note(task_id="t-6", fact=Fact.SUBMITTED))

    after = listed.store.page(Filter(states=[TaskState.QUEUED, TaskState.RUNNING]), limit=2, after=page.next)

    assert (after.task_ids, after.next) == (["t-0"], None)


def test_a_page_looks_at_no_more_than_it_may(arranged: Arranged) -> None:
    """A filter that fits few gives pages without tasks and with a next one, and finds them in the end."""
    arranged.store.note(Note(task_id="rare", fact=Fact.SUBMITTED, labels={"a": "b"}))
    arranged.pass_time()
    for number in range(MAX_LOOKED_AT + 5):
        arranged.store.note(Note(task_id=f"t-{number}", fact=Fact.SUBMITTED, labels={"a": "c"}))

    page = arranged.store.page(Filter(labels={"a": "b"}), limit=1, after=None)
    assert page.task_ids == []
    assert page.next is not None
    page = arranged.store.page(Filter(labels={"a": "b"}), limit=1, after=page.next)
    assert (page.task_ids, page.next) == (["rare"], None)


def test_announcements(arranged: Arranged) -> None:
    """Announcements are given with the store's time."""
    arranged.announce(b"demo.add", json.dumps({"name": "demo.add"}).encode())

    now, announced = arranged.store.announcements()

    assert dict(announced) == {b"demo.add": b'{"name": "demo.add"}'}
    assert now > 0


def test_what_live_workers_serve(arranged: Arranged) -> None:
    """Each tells of itself."""
    assert list(arranged.store.consumers()) == []
    arranged.serve("a@h/1", b"one")
    arranged.serve("b@h/2", b"two")
    assert sorted(arranged.store.consumers()) == [b"one", b"two"]


def test_who_is_silent_serves_nothing(redis_url: str) -> None:
    """Nor does who has not said what it serves."""
    arranged = ArrangedRedis(redis_url, keys=Keys())
    for instance in ("lives", "was", "will"):
        arranged.serve(instance, instance.encode())
    now = arranged.client.time()[0]
    arranged.client.zadd(arranged.keys.workers, {"was": now - 16, "lives": now - 13.5, "mute": now, "will": now + 100})

    assert sorted(arranged.store.consumers()) == [b"lives", b"will"]
    arranged.close()


def test_workers_seen(arranged: Arranged) -> None:
    """It is told how long ago a worker was seen."""
    assert arranged.store.report().worker_seen_seconds is None
    arranged.see_worker()
    assert arranged.store.report().worker_seen_seconds < 5


def test_round_trips(redis_url: str) -> None:
    """On a real connection a read is one round trip, of one task or of many, and so are a note and a page."""
    store = RedisStore(counting_client(redis_url), results=None, keys=Keys(), retention=Retention())
    store.read("t-1")  # connects
    store.note(SUBMITTED)  # connects, and loads the script
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


def test_whose_it_is(arranged: Arranged) -> None:
    """Each way of reading tells, also when the record is gone: then the marker does, unless the task was forgotten."""
    for task_id, owner in (("t-1", "web"), ("t-2", None), ("t-3", "app")):
        arranged.store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, owner=owner))
    arranged.put_meta("t-4", b"{}")

    ids = ["t-1", "t-2", "t-3", "t-4"]
    assert [one.owner for one in arranged.store.read_many(ids)] == ["web", None, "app", None]
    assert [arranged.store.read(task_id).owner for task_id in ids] == ["web", None, "app", None]
    arranged.forget_record("t-1")
    snapshot = arranged.store.read("t-1")
    assert (snapshot.is_empty, snapshot.known, snapshot.owner) == (True, True, "web")
    arranged.store.note(Note(task_id="t-3", fact=Fact.FINISHED, outcome="SUCCESS"))
    assert arranged.store.forget(arranged.store.read("t-3"))
    assert arranged.store.read("t-3").owner is None


def test_an_owners_page(arranged: Arranged) -> None:
    """Its own tasks and no others, by each filter and from page to page, in full pages whatever others have."""
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


def test_forgetting_leaves_nothing(redis_url: str) -> None:
    """No key is left of a task, in the index or elsewhere, whatever its state and name were."""
    arranged = ArrangedRedis(redis_url, keys=Keys())
    submissions = RedisSubmissionStore(connect_to(redis_url, sentinel_master=""), keys=Keys(), retention=Retention())
    for task_id, name, fact in (("t-1", "demo.add", Fact.FINISHED), ("t-2", None, Fact.REVOKED), ("t-3", "é", None)):
        owner = "web" if fact is not Fact.REVOKED else None
        submitted = Note(task_id=task_id, fact=Fact.SUBMITTED, name=name, owner=owner)
        submissions.submit(submitted, Call(name="demo.add"), None)
        arranged.store.note(Note(task_id=task_id, fact=fact, outcome="FAILURE", cancel_requested=fact is None))
        arranged.put_meta(task_id, [b"a list"])
        assert arranged.store.forget(arranged.store.read(task_id))
        assert arranged.client.keys("*") == [Keys().epoch.encode()]
    arranged.close()


def test_gone_and_back(tmp_path: Any) -> None:
    """A Redis that is gone is named so, and used again as soon as it is back, with the script it has lost."""
    with running_redis(tmp_path) as server:
        store = RedisStore(connect_to(server.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
        store.note(SUBMITTED)
        server.stop()
        uses = (
            lambda: store.read("t-1"),
            lambda: store.note(SUBMITTED),
            lambda: store.forget(Snapshot(task_id="t-1")),
            store.announcements,
        )
        for use in uses:
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
