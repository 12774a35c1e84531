"""Keys of a wrong type and unreadable values on a real Redis: they stop neither their own task nor any other."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import redis
from support.expiry import expire_now
from task_status_service.status import TaskState, decode
from task_status_service.store.announcements import RedisAnnouncements
from task_status_service.store.expiry import RedisExpiry
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import OwnerLimits, RedisSubmissionStore
from task_status_service.use_cases.listing import Filter
from task_status_service.use_cases.submission import Call
from task_status_service.use_cases.sweeper import START
from task_status_worker.record.codec import FIELDS
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys()
RETENTION = Retention()

#: type -> a writer of a key of that type
TYPES: dict[str, Callable[[Any, str], object]] = {
    "string": lambda client, key: client.set(key, "text"),
    "list": lambda client, key: client.rpush(key, "text"),
    "set": lambda client, key: client.sadd(key, "text"),
    "zset": lambda client, key: client.zadd(key, {"no\0separator": 1, "text": 5e9}),
    "hash": lambda client, key: client.hset(key, "text", "text"),
    "stream": lambda client, key: client.xadd(key, {"text": "text"}),
}

#: every key that a script touches for the task `bad` of the owner `web`
NAMES = {
    "record": KEYS.record("bad"),
    "call": KEYS.call("bad"),
    "expiry": KEYS.index_by_expiry,
    "slot of the expiry": f"{KEYS.index_by_expiry}:1",
    "index keys": KEYS.index_keys,
    "repairs": KEYS.repairs,
    "workers": KEYS.workers,
    "consumers": KEYS.consumers,
    "task types": KEYS.task_types,
    "state": KEYS.index_by_state("queued"),
    "another state": KEYS.index_by_state("running"),
    "owner's state": KEYS.index_by_state("queued", "web"),
    "owner's another state": KEYS.index_by_state("canceling", "web"),
    "name": KEYS.index_by_name("demo.add"),
    "owner's name": KEYS.index_by_name("demo.add", "web"),
}


class Site(msgspec.Struct):
    """All stores on one Redis, with the tasks `bad` and `good` of the owner `web`, and one that is due."""

    client: Any
    store: RedisStore
    submissions: RedisSubmissionStore
    expiry: RedisExpiry
    announcements: RedisAnnouncements

    def submit(self, task_id: str) -> None:
        note = Note(task_id=task_id, fact=Fact.SUBMITTED, name="demo.add", owner="web", queue="sums")
        self.submissions.submit(note, Call(name="demo.add"), None)

    def note(self, task_id: str, fact: Fact | None, **fields: Any) -> None:
        self.store.note(Note(task_id=task_id, fact=fact, **fields))

    def state(self, task_id: str) -> TaskState | None:
        status = decode(self.store.read(task_id))
        return status and status.state

    def page(self, **wanted: Any) -> list[str]:
        return self.store.page(Filter(**wanted), limit=50, after=None).task_ids

    def lose(self, task_id: str) -> None:
        """Mark a running task as failed."""
        found = self.store.read(task_id)
        self.store.mark_failed(
            Note(task_id=task_id, fact=Fact.FINISHED, outcome="FAILURE"), found, lost_after_seconds=60
        )

    def use_all(self, task_id: str) -> None:
        """Run every operation about one task once; `expired` is due at the first note."""
        self.note(task_id, Fact.RECEIVED)
        self.submit(f"{task_id}-2")
        for wanted in (
            {},
            {"states": [TaskState.QUEUED, TaskState.RUNNING]},
            {"name": "demo.add"},
            {"name": "demo.add", "states": [TaskState.QUEUED]},
            {"labels": {"a": "b"}},
        ):
            self.page(**wanted)
            self.page(owner="web", **wanted)
        list(self.store.read_many([task_id, "good", "expired"]))
        self.submissions.unreceived(TaskState.QUEUED, start=0, after_seconds=-1)
        self.announcements.consumers()
        self.announcements.announcements()
        self.announcements.announcement("demo.add")
        self.note(task_id, Fact.STARTED, run="1", instance="w@h/1")
        self.note(task_id, None, cancel_requested=True)
        self.lose(task_id)
        self.expiry.expire_due()
        self.check_index()
        self.store.forget(self.store.read(task_id))

    def check_index(self) -> None:
        place = START
        for _ in range(200):
            place = self.expiry.check_index(place)
            if place == START:
                return


@pytest.fixture
def site(redis_url: str) -> Iterator[Site]:
    """A site with three tasks."""
    records = connect_to(redis_url, sentinel_master="")
    with redis.Redis.from_url(redis_url) as client:
        site = Site(
            client,
            RedisStore(records, results=None, keys=KEYS, retention=RETENTION),
            RedisSubmissionStore(records, keys=KEYS, retention=RETENTION, limits=OwnerLimits(queued_tasks=100)),
            RedisExpiry(records, keys=KEYS, retention=RETENTION),
            RedisAnnouncements(records, keys=KEYS),
        )
        for task_id in ("bad", "good", "expired"):
            site.submit(task_id)
        expire_now(client, KEYS, "expired")
        yield site
        site.store.close()


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_type_stops_nothing(site: Site, name: str, kind: str) -> None:
    """Every operation works with a key of any type under any name, and another task goes through its states."""
    site.client.delete(NAMES[name])
    TYPES[kind](site.client, NAMES[name])

    site.use_all("bad")

    assert site.state("good") is TaskState.QUEUED
    site.note("good", Fact.STARTED, run="1")
    assert site.state("good") is TaskState.RUNNING
    assert "good" in site.page(owner="web", states=[TaskState.RUNNING])
    site.note("good", Fact.FINISHED, run="1", outcome="SUCCESS")
    assert "good" in site.page(states=[TaskState.SUCCEEDED])
    assert site.store.forget(site.store.read("good"))
    assert site.state("good") is None


#: keys that no script of a task replaces
KEPT = ("call", "repairs", "workers", "consumers", "task types")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in KEPT])
def test_a_repaired_key_is_reported(site: Site, name: str) -> None:
    """A key that a script replaces is reported with its type for a day."""
    kind = "stream"
    site.client.delete(NAMES[name])
    TYPES[kind](site.client, NAMES[name])
    if name == "slot of the expiry":
        site.client.zadd(KEYS.index_by_expiry, {"1": 1})

    site.use_all("bad")

    assert site.client.hget(KEYS.repairs, NAMES[name]) == kind.encode()
    assert 0 < site.client.ttl(KEYS.repairs) <= 86_400
    assert site.client.type(NAMES[name]) != kind.encode()


def test_reported_keys_are_limited(site: Site) -> None:
    """At most 20 keys are reported."""
    for number in range(30):
        site.client.set(KEYS.record(f"bad-{number}"), "text")
        site.submit(f"bad-{number}")
    assert site.client.hlen(KEYS.repairs) == 20


UNREADABLE = [b"abc", b"", b"nan", b"inf", b"-1", b"1e99", b"0x1", b"9" * 15, b"9" * 16, b"9" * 400, b"\xff\0"]


@pytest.mark.parametrize("value", UNREADABLE, ids=repr)
@pytest.mark.parametrize("field", FIELDS)
def test_an_unreadable_field_stops_nothing(site: Site, field: str, value: bytes) -> None:
    """Every operation works with any value in any field of a record."""
    site.client.hset(KEYS.record("bad"), FIELDS[field], value)

    site.use_all("bad")

    assert site.state("good") is TaskState.QUEUED
    assert "good" in site.page(owner="web", states=[TaskState.QUEUED])


@pytest.mark.parametrize("member", ["noseparator", "a\0b", "", "\xff", "-inf", "../..", "x" * 100_000], ids=repr)
def test_a_malformed_member_stops_nothing(site: Site, member: str) -> None:
    """Every operation works with any member in any sorted set and list of ours."""
    for key in (
        KEYS.index_by_expiry,
        KEYS.index_keys,
        KEYS.workers,
        KEYS.index_by_state("queued"),
        KEYS.index_by_state("queued", "web"),
        KEYS.index_by_name("demo.add"),
    ):
        site.client.zadd(key, {member: 1})
    site.client.rpush(f"{KEYS.index_by_expiry}:1", member)

    site.use_all("bad")

    assert site.state("good") is TaskState.QUEUED
    assert member not in site.page()
    assert site.client.zscore(KEYS.index_by_state("queued", "web"), member) is None
    assert site.client.zscore(KEYS.index_by_expiry, member) is None
