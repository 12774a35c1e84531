"""The feed on a real Redis: a watch misses no change, even if every message is lost."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from support.fakes import MemoryFeed
from support.servers import RedisServer, running_redis, wait_until
from task_status_service.access.watch_limits import Places, WatchLimit
from task_status_service.errors import TooManyWatches
from task_status_service.status import Snapshot
from task_status_service.store.feed import REREAD_SECONDS, Feed
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys.under("app")
#: a watch reports a change within this time even if every message is lost
CONVERGES_SECONDS = 5.0


def version(snapshot: Snapshot) -> str:
    """Return a text that differs if the snapshot differs."""
    return repr((sorted(snapshot.record.items()), snapshot.meta))


class FeedOnRedis:
    """A feed and a store on one Redis."""

    def __init__(self, url: str, places: Places | None = None) -> None:
        self.store = RedisStore(connect_to(url, sentinel_master=""), results=None, keys=KEYS, retention=Retention())
        places = places or Places(1_000)
        self.feed = Feed(self.store.publishers, self.store.read_many, version, keys=KEYS, places=places)

    def close(self) -> None:
        self.feed.close()
        self.store.close()


@pytest.fixture
def bench(redis_url: str) -> Iterator[FeedOnRedis]:
    """A feed on the session's Redis."""
    bench = FeedOnRedis(redis_url)
    yield bench
    bench.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_reports_a_changed_task(kind: str, bench: FeedOnRedis) -> None:
    """A watch returns the ids of changed tasks, in the fake feed and in the real one."""
    memory = MemoryFeed()
    feed = memory if kind == "memory" else bench.feed
    watch = feed.watch(["t-1"], limits=[])

    assert watch.changed(0.01) == set()
    if kind == "memory":
        memory.script = [lambda: None]
    bench.store.note(Note(task_id="t-1", fact=Fact.STARTED))
    assert watch.changed(5) == {"t-1"}
    assert not watch.is_over
    watch.close()
    watch.close()


@pytest.mark.parametrize("channel", [KEYS.meta, KEYS.record])
def test_misses_no_message_after_subscribing(
    bench: FeedOnRedis, redis_server: RedisServer, channel: Callable[[str], str]
) -> None:
    """A watch receives a message that Celery or this project publishes right after it began."""
    with redis_server.client() as client:
        for number in range(200):
            with bench.feed.watch([f"t-{number}"], limits=[]) as watch:
                client.publish(channel(f"t-{number}"), "x")
                assert watch.changed(REREAD_SECONDS / 2) == {f"t-{number}"}


def test_a_watch_reports_only_its_own_tasks(bench: FeedOnRedis) -> None:
    """A change is reported to every watch of that task, and to no other watch."""
    watches = [bench.feed.watch([f"t-{n}", "t-all"], limits=[]) for n in range(3)]
    bench.store.note(Note(task_id="t-1", fact=Fact.STARTED))
    assert watches[1].changed(5) == {"t-1"}
    assert watches[0].changed(0.1) == watches[2].changed(0.1) == set()

    bench.store.note(Note(task_id="t-all", fact=Fact.STARTED))
    assert [watch.changed(5) for watch in watches] == [{"t-all"}] * 3


def test_unsubscribes_from_unwatched_tasks(bench: FeedOnRedis, redis_server: RedisServer) -> None:
    """The feed unsubscribes from a task after its last watch has closed."""
    with redis_server.client() as client:
        with bench.feed.watch(["t-1"], limits=[]), bench.feed.watch(["t-1"], limits=[]):
            assert len(client.pubsub_channels("app_*")) == 2
        wait_until(lambda: not client.pubsub_channels("app_*"), what="the end of the subscriptions")


def test_reports_a_change_without_a_message(bench: FeedOnRedis, redis_server: RedisServer) -> None:
    """A change without a message is reported within a few seconds."""
    with redis_server.client() as client, bench.feed.watch(["t-1", "t-2"], limits=[]) as watch:
        wait_until(lambda: not watch.changed(REREAD_SECONDS * 1.2), what="the end of the first read")
        client.set(KEYS.meta("t-2"), b'{"status": "SUCCESS"}')
        begun = time.monotonic()
        assert watch.changed(CONVERGES_SECONDS) == {"t-2"}
        assert time.monotonic() - begun < CONVERGES_SECONDS


def test_reports_a_change_before_the_first_read(bench: FeedOnRedis) -> None:
    """A change right after the start of a watch is reported, although no read has preceded it."""
    nowhere = connect_to("redis://127.0.0.1:1/0", sentinel_master="")
    feed = Feed(lambda: [nowhere], bench.store.read_many, version, keys=KEYS, places=Places(1))
    with feed.watch(["t-1"], limits=[]) as watch:
        bench.store.note(Note(task_id="t-1", fact=Fact.STARTED))
        assert watch.changed(CONVERGES_SECONDS) == {"t-1"}
    feed.close()


def test_an_unforeseen_error_is_logged_and_rereading_continues(
    bench: FeedOnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """An error while the watched tasks are read is logged with its traceback, and the next read follows."""
    nowhere = connect_to("redis://127.0.0.1:1/0", sentinel_master="")
    failures = iter([ValueError("unforeseen")])

    def read_many(task_ids: list[str]) -> Iterable[Snapshot]:
        for failure in failures:
            raise failure
        return bench.store.read_many(task_ids)

    feed = Feed(lambda: [nowhere], read_many, version, keys=KEYS, places=Places(1))
    with feed.watch(["t-1"], limits=[]) as watch:
        assert watch.changed(2 * CONVERGES_SECONDS) == {"t-1"}
    feed.close()

    [record] = [record for record in caplog.records if record.exc_info]
    assert "Watched tasks were not read again" in record.getMessage()


def test_reports_changes_while_connections_are_killed(bench: FeedOnRedis, redis_server: RedisServer) -> None:
    """Every change is reported within seconds although the connection is killed every 250 ms."""
    stop = threading.Event()

    def kill() -> None:
        with redis_server.client() as client:
            while not stop.wait(0.25):
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for number in range(20):
            with bench.feed.watch([f"t-{number}"], limits=[]) as watch:
                bench.store.note(Note(task_id=f"t-{number}", fact=Fact.STARTED))
                wait_until(lambda: watch.changed(1), timeout=CONVERGES_SECONDS, what="a change")
    finally:
        stop.set()
        killer.join()


def test_subscribes_again_after_a_restart_of_redis(tmp_path: Path) -> None:
    """After a restart of Redis the feed subscribes to the watched tasks again."""
    with running_redis(tmp_path) as server:
        bench = FeedOnRedis(server.url)
        watch = bench.feed.watch(["t-1"], limits=[])
        server.stop()
        watch.changed(0.5)
        server.start()
        with server.client() as client:
            wait_until(lambda: len(client.pubsub_channels("app_*")) == 2, what="the channels")
        while watch.changed(0.2):
            pass
        bench.store.note(Note(task_id="t-1", fact=Fact.STARTED))
        assert watch.changed(5) == {"t-1"}
        bench.close()


def test_watching_without_redis_returns_soon() -> None:
    """Without Redis a watch starts after a short wait for the confirmation."""
    bench = FeedOnRedis("redis://127.0.0.1:1/0")
    begun = time.monotonic()
    with bench.feed.watch(["t-1"], limits=[]) as watch:
        assert watch.changed(0.01) == set()
    assert time.monotonic() - begun < 2
    bench.close()


def limits_of(*keys: str, most: int = 2) -> list[WatchLimit]:
    """Return one limit of concurrent watches for each key."""
    return [WatchLimit(key, most, f"Too many watches of {key}.") for key in keys]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_limits_watches(kind: str, redis_url: str) -> None:
    """The fake feed and the real one limit watches in total and per key; a closed watch frees its places."""
    places = Places(3)
    memory = MemoryFeed()
    memory.places = places
    feed = memory if kind == "memory" else FeedOnRedis(redis_url, places).feed
    mine = [feed.watch(["t-1"], limits=limits_of("me", "us")) for _ in range(2)]
    with pytest.raises(TooManyWatches, match="Too many watches of me"):
        feed.watch(["t-1"], limits=limits_of("me"))
    with pytest.raises(TooManyWatches, match="Too many watches of us"):
        feed.watch(["t-1"], limits=limits_of("you", "us"))
    yours = feed.watch(["t-1"], limits=limits_of("you"))
    with pytest.raises(TooManyWatches, match="on this server"):
        feed.watch(["t-1"], limits=limits_of("them"))

    mine[0].close()
    mine[0].close()
    feed.watch(["t-1"], limits=limits_of("you", "me", "us")).close()
    yours.close()
    mine[1].close()
    for watch in [feed.watch([f"t-{number}"], limits=[]) for number in range(3)]:
        watch.close()
    feed.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_closing_the_feed_ends_its_watches(kind: str, bench: FeedOnRedis) -> None:
    """Closing the feed ends a waiting watch at once, in the fake feed and in the real one."""
    feed = MemoryFeed() if kind == "memory" else bench.feed
    watch = feed.watch(["t-1"], limits=[])
    assert not watch.is_over
    threading.Timer(0.1, feed.close).start()
    begun = time.monotonic()
    while not watch.is_over:
        watch.changed(30)
    assert time.monotonic() - begun < 5


def test_subscribes_to_a_separate_result_redis(redis_url: str, tmp_path: Path) -> None:
    """If results are in another Redis, the feed subscribes to both."""
    with running_redis(tmp_path) as other, other.client() as client:
        store = RedisStore(
            connect_to(redis_url, sentinel_master=""),
            results=connect_to(other.url, sentinel_master=""),
            keys=KEYS,
            retention=Retention(),
        )
        feed = Feed(store.publishers, store.read_many, version, keys=KEYS, places=Places(10))
        with feed.watch(["t-1"], limits=[]) as watch:
            client.publish(KEYS.meta("t-1"), "x")
            assert watch.changed(5) == {"t-1"}
            store.note(Note(task_id="t-1", fact=Fact.STARTED))
            assert watch.changed(5) == {"t-1"}
        feed.close()
        store.close()


def test_a_message_may_hold_any_bytes(bench: FeedOnRedis, redis_server: RedisServer) -> None:
    """The content of a message is ignored, so that invalid UTF-8 is harmless."""
    with redis_server.client() as client, bench.feed.watch(["t-1"], limits=[]) as watch:
        client.publish(KEYS.meta("t-1"), b"\xff\x00")
        assert watch.changed(5) == {"t-1"}


def test_all_watches_share_one_connection(bench: FeedOnRedis, redis_server: RedisServer) -> None:
    """Fifty watches use one connection to Redis."""
    watches = [bench.feed.watch([f"t-{n}"], limits=[]) for n in range(50)]
    with redis_server.client() as client:
        assert len(client.client_list(_type="pubsub")) == 1
    for watch in watches:
        watch.close()


def test_a_lost_connection_reports_every_task_as_changed(redis_server: RedisServer, bench: FeedOnRedis) -> None:
    """After a lost connection each watch reports its tasks, because messages may have been lost."""
    with redis_server.client() as client, bench.feed.watch(["t-1"], limits=[]) as watch:
        client.client_kill_filter(_type="pubsub")
        assert watch.changed(REREAD_SECONDS) == {"t-1"}
