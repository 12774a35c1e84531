"""Pages of an index with forged contents, and the number of tasks at which a page looks."""

import pytest
import redis
from support.servers import RedisServer
from task_status_service.errors import Unavailable
from task_status_service.status import TaskState
from task_status_service.store.records import RedisStore
from task_status_service.use_cases.listing import MAX_LOOKED_AT, Filter, Position
from task_status_worker.record.keys import Keys, Retention

KEYS = Keys()
QUEUED = KEYS.index_by_state("queued")
#: bytes of a member: two of them are more than a page reads
HUGE = 300_000


def walk(store, *, limit=2, most=10_000, **wanted):
    """Return the ids of all pages."""
    ids, after = [], None
    for _ in range(most):
        page = store.page(Filter(**wanted), limit=limit, after=after)
        assert len(page.task_ids) <= limit
        ids += page.task_ids
        after = page.next
        if after is None:
            return ids
    raise AssertionError(ids)


FORGED = {
    "empty": ("", 5),
    "a NUL": ("a\0b", 5),
    "a line break": ("t-1\n", 5),
    "DEL": ("t\x7f", 5),
    "no text": (b"\xff\xfe", 5),
    "the first byte twice": (b"\xff\xff", 5),
    "256 bytes": ("t" * 256, 5),
    "a megabyte": ("t" * 1_000_000, 5),
    "infinite": ("later", "inf"),
    "before all": ("earlier", "-inf"),
    "negative": ("negative", -5),
    "too large": ("large", 1e300),
    "a fraction": ("half", 4.5),
    "the smallest fraction": ("tiny", 5e-324),
    "zero": ("t-zero", 0),
}


@pytest.mark.parametrize("limit", [1, 2, 50])
@pytest.mark.parametrize("forged", FORGED)
def test_forged_members_hide_no_task(store, client, forged, limit):
    """A walk over members that are no tasks ends, and lists all tasks, for any filter."""
    member, score = FORGED[forged]
    tasks = {"t-1": 4, "t-2": 5, "t-3": 5, "T": 5, "~": 5, "t-9": 6}
    label = KEYS.index_by_label("a", "b")
    for key in (QUEUED, KEYS.index_by_state("running"), KEYS.index_by_name("demo.add"), label):
        client.zadd(key, {member: score})
    for key in (QUEUED, KEYS.index_by_name("demo.add"), label):
        client.zadd(key, tasks)

    expected = sorted(tasks, key=lambda one: (tasks[one], one.encode()), reverse=True)
    for wanted in (
        {},
        {"name": "demo.add"},
        {"labels": {"a": "b"}},
        {"states": [TaskState.QUEUED, TaskState.RUNNING], "name": "demo.add", "labels": {"a": "b"}},
    ):
        listed = walk(store, limit=limit, **wanted)
        assert [one for one in listed if one in tasks] == expected, wanted
        assert all(len(one) < 256 and "\0" not in one and "\n" not in one for one in listed)


def test_many_forged_members(store, client):
    """A page over thousands of forged members of one millisecond is bounded, and a walk passes them."""
    client.zadd(QUEUED, {f"\x01{number}": 5 for number in range(3_000)})
    client.zadd(QUEUED, {"a": 5, "b": 4})

    assert store.page(Filter(), limit=200, after=None).next is not None
    assert walk(store, limit=200) == ["a", "b"]


def test_huge_members(store, client):
    """A page reads few members that are larger than a page, and a walk passes them."""
    client.zadd(QUEUED, {bytes([65 + number]) * HUGE: 5 for number in range(12)})
    client.zadd(QUEUED, {"a": 5, "Z": 4})
    client.config_resetstat()

    first = store.page(Filter(), limit=200, after=None)
    assert first.next is not None
    assert client.info("stats")["total_net_output_bytes"] < HUGE
    assert len(first.next.task_id) < 256
    assert walk(store, limit=200) == ["a", "Z"]


OTHER_TYPES = {
    "string": lambda client, key: client.set(key, "x"),
    "list": lambda client, key: client.rpush(key, "x"),
    "hash": lambda client, key: client.hset(key, "x", "y"),
    "set": lambda client, key: client.sadd(key, "x"),
    "stream": lambda client, key: client.xadd(key, {"x": "y"}),
}


@pytest.mark.parametrize("kind", OTHER_TYPES)
def test_keys_of_other_types_are_skipped(store, client, kind):
    """A key of another type in the index is an empty set: pages list what the other keys hold."""
    client.zadd(QUEUED, {"a": 5, "b": 4})
    broken = [KEYS.index_by_state("running"), KEYS.index_by_name("demo.add"), KEYS.index_by_label("a", "b")]
    for key in broken:
        OTHER_TYPES[kind](client, key)

    assert walk(store) == walk(store, states=[TaskState.RUNNING, TaskState.QUEUED]) == ["a", "b"]
    assert (
        walk(store, states=[TaskState.RUNNING]) == walk(store, name="demo.add") == walk(store, labels={"a": "b"}) == []
    )
    assert walk(store, states=[TaskState.QUEUED], name="demo.add", labels={"a": "b", "c": "d"}) == []
    for key in broken:
        assert client.type(key).decode() == kind, "a page writes nothing"


def test_an_error_of_redis_is_raised(redis_server: RedisServer, client):
    """Only a wrong type is skipped: any other error of a key is an error of the page."""
    client.acl_setuser(
        "lister", enabled=True, nopass=True, commands=["+evalsha", "+eval", "+script", "-zcount"], keys=["*"]
    )
    with redis.Redis.from_url(redis_server.url, username="lister", password="x") as limited:
        store = RedisStore(limited, results=None, keys=KEYS, retention=Retention())
        with pytest.raises(Unavailable):
            store.page(Filter(), limit=1, after=None)
    client.acl_deluser("lister")


@pytest.fixture
def two_large_labels(client):
    """Two labels with 5,000 tasks each, of which only the oldest one has both."""
    for text in ("x", "y"):
        tasks = {f"{text}-{number}": 1_000 + number for number in range(5_000)}
        client.zadd(KEYS.index_by_label("a", text), {**tasks, "both": 1})
        client.zadd(KEYS.index_by_label("b", text), {**tasks, "both": 1})


def commands_of(client):
    """Return the number of calls of each command since the last reset."""
    return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()}


@pytest.mark.usefixtures("two_large_labels")
@pytest.mark.parametrize("limit", [1, 50, 200])
@pytest.mark.parametrize("labels", [{"a": "x", "b": "y"}, {"a": "x", "b": "nothing"}, {"a": "nothing"}, {"a": "x"}])
def test_the_cost_of_a_page_is_bounded(store, client, labels, limit):
    """A page checks at most `MAX_LOOKED_AT` tasks, and reads no record, whatever the size of the index."""
    store.page(Filter(labels=labels), limit=limit, after=None)  # loads the script
    for after in (None, Position(3_000, "x"), Position(1, "a")):
        client.config_resetstat()
        store.page(Filter(labels=labels), limit=limit, after=after)
        done = commands_of(client)

        assert done.get("zscore", 0) <= (MAX_LOOKED_AT if len(labels) > 1 else 0)
        assert done.get("zrevrange", 0) <= 20
        assert done.keys() <= {"evalsha", "zcount", "zrevrange", "zscore", "config", "config|resetstat", "info"}


@pytest.mark.usefixtures("two_large_labels")
def test_a_rare_match_is_found(store):
    """The walk reaches the only task that has both labels."""
    assert walk(store, limit=200, labels={"a": "x", "b": "y"}) == ["both"]
    assert walk(store, limit=1, labels={"a": "x", "b": "y"}) == ["both"]
    assert walk(store, labels={"a": "x", "b": "nothing"}) == []


def test_the_rarest_condition_is_walked(store, client):
    """The cost of a page depends on the smallest set of a filter, also within a span of time."""
    client.zadd(KEYS.index_by_name("demo.add"), {f"t-{number}": 1_000 + number for number in range(3_000)})
    client.zadd(QUEUED, {f"t-{number}": 1_000 + number for number in range(3_000)})
    client.zadd(KEYS.index_by_label("a", "b"), {"t-5": 1_005})

    page = store.page(Filter(states=[TaskState.QUEUED], name="demo.add", labels={"a": "b"}), limit=1, after=None)
    assert (page.task_ids, page.next) == (["t-5"], None)
