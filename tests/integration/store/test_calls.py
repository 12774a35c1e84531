"""The calls of tasks in Redis: where they are stored, and for how long."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import RedisSubmissionStore
from task_status_service.use_cases.submission import Call
from task_status_worker.record.codec import FIELDS
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

SMALL = Call(name="demo.add", args=[1, 2])
LARGE = Call(name="demo.add", args=["x" * 1_000])
DAY = 86_400


class Arranged:
    """The store of submissions in a real Redis, and its records."""

    def __init__(self, url: str, *, arguments_seconds: int = DAY, record_seconds: int = 7 * DAY) -> None:
        self.client: Any = redis.Redis.from_url(url)
        retention = Retention(record_seconds=record_seconds)
        connection = connect_to(url, sentinel_master="")
        self.store = RedisSubmissionStore(
            connection, keys=Keys(), retention=retention, arguments_seconds=arguments_seconds
        )
        self.records = RedisStore(connection, results=None, keys=Keys(), retention=retention)

    def submit(self, call: Call, task_id: str = "t-1") -> None:
        self.store.submit(Note(task_id=task_id, fact=Fact.SUBMITTED, name=call.name, queue="celery"), call, None)

    def finish(self, task_id: str = "t-1") -> None:
        self.records.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS"))

    def age(self, seconds: int, task_id: str = "t-1") -> None:
        """Move the end of a task into the past."""
        key, field = Keys().record(task_id), FIELDS["finished_at"]
        self.client.hset(key, field, int(self.client.hget(key, field)) - seconds * 1_000)

    def close(self) -> None:
        self.client.close()
        self.records.close()


@pytest.fixture
def arrange(redis_url: str) -> Iterator[Callable[..., Arranged]]:
    """Return a function that creates a store."""
    made: list[Arranged] = []

    def arrange(**options: int) -> Arranged:
        made.append(Arranged(redis_url, **options))
        return made[-1]

    yield arrange
    for one in made:
        one.close()


def test_only_a_large_call_has_a_key(arrange: Callable[..., Arranged]) -> None:
    """A call of at most 64 bytes is a field of the record; the record stays a listpack."""
    arranged = arrange()
    for task_id, size in (("t-1", 60), ("t-2", 61)):
        arranged.submit(Call(name="demo.add", args=["x" * (size - 2)]), task_id)

    assert [key.decode() for key in arranged.client.keys("task-status:call:*")] == [Keys().call("t-2")]
    assert arranged.client.object("ENCODING", Keys().record("t-1")) in (b"listpack", b"ziplist")
    assert [len(arranged.store.call(task_id).args[0]) for task_id in ("t-1", "t-2")] == [58, 59]


@pytest.mark.parametrize("call", [Call(name="demo.add"), SMALL, LARGE])
def test_a_call_is_stored_for_a_time_after_the_end(arrange: Callable[..., Arranged], call: Call) -> None:
    """The call of a done task is stored for the time of the setting, by the Redis clock."""
    arranged = arrange()
    arranged.submit(call)
    arranged.finish()
    assert arranged.store.call("t-1") == call
    if call is LARGE:
        assert DAY - 5 <= arranged.client.ttl(Keys().call("t-1")) <= DAY

    arranged.age(DAY - 5)
    assert arranged.store.call("t-1") == call
    arranged.age(6)
    assert arranged.store.call("t-1") is None


@pytest.mark.parametrize("call", [SMALL, LARGE])
def test_no_call_is_stored_after_the_end(arrange: Callable[..., Arranged], call: Call) -> None:
    """With a time of 0, the end of a task deletes its call, and a repeated submission does not store it again."""
    arranged = arrange(arguments_seconds=0)
    arranged.submit(call)
    assert arranged.store.call("t-1") == call
    arranged.finish()

    for _ in range(2):
        assert arranged.store.call("t-1") is None
        assert not arranged.client.exists(Keys().call("t-1"))
        assert not arranged.client.hexists(Keys().record("t-1"), FIELDS["call"])
        arranged.submit(call)


def test_a_call_is_stored_at_most_as_long_as_its_record(arrange: Callable[..., Arranged]) -> None:
    """The time for calls is limited by that for records."""
    arranged = arrange(record_seconds=600)
    arranged.submit(LARGE)
    arranged.finish()

    assert arranged.client.ttl(Keys().call("t-1")) <= 600


def test_a_call_of_an_expired_task_is_not_stored(arrange: Callable[..., Arranged]) -> None:
    """A task whose record has expired has no call."""
    arranged = arrange()
    arranged.submit(SMALL)
    arranged.client.hset(Keys().record("t-1"), FIELDS["valid_until"], arranged.client.time()[0])

    assert arranged.store.call("t-1") is None


@pytest.mark.parametrize("kind", ["record", "call"])
def test_a_key_of_another_type_is_no_call(arrange: Callable[..., Arranged], kind: str) -> None:
    """A record or call key of another type reads as no call, and a new submission replaces it."""
    arranged = arrange()
    key = Keys().record("t-1") if kind == "record" else Keys().call("t-1")
    if kind == "call":
        arranged.submit(LARGE)
        arranged.client.delete(key)
    arranged.client.sadd(key, "x")

    assert arranged.store.call("t-1") is None
    arranged.client.delete(Keys().record("t-1"))
    arranged.submit(LARGE)
    assert arranged.store.call("t-1") == LARGE
