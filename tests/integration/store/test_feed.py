"""Hints over a real Redis: none is lost between watching and reading, and all may be lost without harm."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from support.fakes import MemoryFeed
from support.servers import RedisServer, running_redis, wait_until
from task_status_service.errors import TooManyWatches
from task_status_service.status import Snapshot
from task_status_service.store.feed import REREAD_SECONDS, Feed
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys.under("app")
#: a stream shows the truth this soon even if every message is lost
CONVERGES_SECONDS = 5.0


def version(snapshot: Snapshot) -> str:
    """Name what was read."""
    return repr((sorted(snapshot.record.items()), snapshot.meta))


class Fed:
    """A feed and a store over one Redis."""

    def __init__(self, url: str, **limits: int) -> None:
        self.store = RedisStore(connect_to(url, sentinel_master=""), results=None, keys=KEYS, retention=Retention())
        limits = {"limit": 1_000, "limit_per_caller": 1_000, **limits}
        self.feed = Feed(self.store.publishers, self.store.read_many, version, keys=KEYS, **limits)

    def close(self) -> None:
        self.feed.close()
        self.store.close()


@pytest.fixture
def fed(redis_url: str) -> Iterator[Fed]:
    """Give a feed over the session's Redis."""
    fed = Fed(redis_url)
    yield fed
    fed.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_tells_what_changes(kind: str, fed: Fed) -> None:
    """What the watcher may expect of a feed; the fake and the real one pass the same test."""
    memory = MemoryFeed()
    feed = memory if kind == "memory" else fed.feed
    watch = feed.watch(["t-1"], caller="me")

    assert watch.changed(0.01) == set()
    if kind == "memory":
        memory.script = [lambda: None]
    fed.store.note(Note(task_id="t-1", fact=Fact.STARTED))
    assert watch.changed(5) == {"t-1"}
    assert not watch.is_over
    watch.close()
    watch.close()


@pytest.mark.parametrize("channel", [KEYS.meta, KEYS.record])
def test_nothing_is_lost_between_watching_and_reading(
    fed: Fed, redis_server: RedisServer, channel: Callable[[str], str]
) -> None:
    """What is published right after a watch has begun is told, each of many times, by Celery and by us."""
    with redis_server.client() as client:
        for number in range(200):
            with fed.feed.watch([f"t-{number}"], caller="me") as watch:
                client.publish(channel(f"t-{number}"), "x")
                assert watch.changed(REREAD_SECONDS / 2) == {f"t-{number}"}


def test_tells_those_who_watch_and_no_others(fed: Fed) -> None:
    """Each is told of its own tasks."""
    watches = [fed.feed.watch([f"t-{n}", "t-all"], caller="me") for n in range(3)]
    fed.store.note(Note(task_id="t-1", fact=Fact.STARTED))
    assert watches[1].changed(5) == {"t-1"}
    assert watches[0].changed(0.1) == watches[2].changed(0.1) == set()

    fed.store.note(Note(task_id="t-all", fact=Fact.STARTED))
    assert [watch.changed(5) for watch in watches] == [{"t-all"}] * 3


def test_frees_what_nobody_watches(fed: Fed, redis_server: RedisServer) -> None:
    """Redis is asked no more for what nobody watches."""
    with redis_server.client() as client:
        with fed.feed.watch(["t-1"], caller="me"), fed.feed.watch(["t-1"], caller="you"):
            assert len(client.pubsub_channels("app_*")) == 2
        wait_until(lambda: not client.pubsub_channels("app_*"), what="the channels to be free")


def test_converges_without_any_message(fed: Fed, redis_server: RedisServer) -> None:
    """A change of which no message comes is told all the same, within a few seconds."""
    with redis_server.client() as client, fed.feed.watch(["t-1", "t-2"], caller="me") as watch:
        wait_until(lambda: not watch.changed(REREAD_SECONDS * 1.2), what="the first reading to be over")
        client.set(KEYS.meta("t-2"), b'{"status": "SUCCESS"}')
        begun = time.monotonic()
        assert watch.changed(CONVERGES_SECONDS) == {"t-2"}
        assert time.monotonic() - begun < CONVERGES_SECONDS


def test_converges_from_the_beginning(fed: Fed) -> None:
    """Also a change is told that comes right after a watch has begun, before anything was read again."""
    nowhere = connect_to("redis://127.0.0.1:1/0", sentinel_master="")
    feed = Feed(lambda: [nowhere], fed.store.read_many, version, keys=KEYS, limit=1, limit_per_caller=1)
    with feed.watch(["t-1"], caller="me") as watch:
        fed.store.note(Note(task_id="t-1", fact=Fact.STARTED))
        assert watch.changed(CONVERGES_SECONDS) == {"t-1"}
    feed.close()


def test_an_unforeseen_error_is_logged_and_rereading_continues(fed: Fed, caplog: pytest.LogCaptureFixture) -> None:
    """An error while the watched tasks are read again is logged with its traceback; the next attempt follows."""
    nowhere = connect_to("redis://127.0.0.1:1/0", sentinel_master="")
    failures = iter([ValueError("unforeseen")])

    def read_many(task_ids: list[str]) -> Iterable[Snapshot]:
        for failure in failures:
            raise failure
        return fed.store.read_many(task_ids)

    feed = Feed(lambda: [nowhere], read_many, version, keys=KEYS, limit=1, limit_per_caller=1)
    with feed.watch(["t-1"], caller="me") as watch:
        assert watch.changed(2 * CONVERGES_SECONDS) == {"t-1"}
    feed.close()

    [record] = [record for record in caplog.records if record.exc_info]
    assert "Watched tasks were not read again" in record.getMessage()


def test_connections_are_killed_all_the_time(fed: Fed, redis_server: RedisServer) -> None:
    """With its connection killed every 250 ms it still tells everything soon."""
    stop = threading.Event()

    def kill() -> None:
        with redis_server.client() as client:
            while not stop.wait(0.25):
                client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        for number in range(20):
            with fed.feed.watch([f"t-{number}"], caller="me") as watch:
                fed.store.note(Note(task_id=f"t-{number}", fact=Fact.STARTED))
                wait_until(lambda: watch.changed(1), timeout=CONVERGES_SECONDS, what="a hint")
    finally:
        stop.set()
        killer.join()


def test_redis_goes_and_comes_back(tmp_path: Path) -> None:
    """After a restart what is watched is listened to again."""
    with running_redis(tmp_path) as server:
        fed = Fed(server.url)
        watch = fed.feed.watch(["t-1"], caller="me")
        server.stop()
        watch.changed(0.5)
        server.start()
        with server.client() as client:
            wait_until(lambda: len(client.pubsub_channels("app_*")) == 2, what="the channels")
        while watch.changed(0.2):
            pass
        fed.store.note(Note(task_id="t-1", fact=Fact.STARTED))
        assert watch.changed(5) == {"t-1"}
        fed.close()


def test_without_redis_it_is_no_slower_than_its_bound() -> None:
    """Watching needs no Redis; it only waits a moment for a confirmation."""
    fed = Fed("redis://127.0.0.1:1/0")
    begun = time.monotonic()
    with fed.feed.watch(["t-1"], caller="me") as watch:
        assert watch.changed(0.01) == set()
    assert time.monotonic() - begun < 2
    fed.close()


def test_bounds(redis_url: str) -> None:
    """So many in all, and so many of one caller; a place that is freed can be taken again."""
    fed = Fed(redis_url, limit=3, limit_per_caller=2)
    mine = [fed.feed.watch(["t-1"], caller="me") for _ in range(2)]
    with pytest.raises(TooManyWatches):
        fed.feed.watch(["t-1"], caller="me")
    yours = fed.feed.watch(["t-1"], caller="you")
    with pytest.raises(TooManyWatches):
        fed.feed.watch(["t-1"], caller="them")

    mine[0].close()
    fed.feed.watch(["t-1"], caller="me").close()
    yours.close()
    mine[1].close()
    fed.close()


def test_closing_wakes_everybody(fed: Fed) -> None:
    """Who waits hears at once that it is over."""
    watch = fed.feed.watch(["t-1"], caller="me")
    threading.Timer(0.1, fed.feed.close).start()
    begun = time.monotonic()
    watch.changed(30)
    assert watch.is_over
    assert time.monotonic() - begun < 5


def test_results_elsewhere(redis_url: str, tmp_path: Path) -> None:
    """Where results are in another Redis, both are listened to."""
    with running_redis(tmp_path) as other, other.client() as hands:
        store = RedisStore(
            connect_to(redis_url, sentinel_master=""),
            results=connect_to(other.url, sentinel_master=""),
            keys=KEYS,
            retention=Retention(),
        )
        feed = Feed(store.publishers, store.read_many, version, keys=KEYS, limit=10, limit_per_caller=10)
        with feed.watch(["t-1"], caller="me") as watch:
            hands.publish(KEYS.meta("t-1"), "x")
            assert watch.changed(5) == {"t-1"}
            store.note(Note(task_id="t-1", fact=Fact.STARTED))
            assert watch.changed(5) == {"t-1"}
        feed.close()
        store.close()


def test_bytes_that_are_no_text(fed: Fed, redis_server: RedisServer) -> None:
    """Whatever is published under a channel is only a hint."""
    with redis_server.client() as client, fed.feed.watch(["t-1"], caller="me") as watch:
        client.publish(KEYS.meta("t-1"), b"\xff\x00")
        assert watch.changed(5) == {"t-1"}


def test_one_connection(fed: Fed, redis_server: RedisServer) -> None:
    """However many watch, Redis sees one connection for it."""
    watches = [fed.feed.watch([f"t-{n}"], caller="me") for n in range(50)]
    with redis_server.client() as client:
        assert len(client.client_list(_type="pubsub")) == 1
    for watch in watches:
        watch.close()


def test_a_lost_watch_is_a_hint(redis_server: RedisServer, fed: Fed) -> None:
    """After a lost connection everybody is told to read again: something may have happened meanwhile."""
    with redis_server.client() as client, fed.feed.watch(["t-1"], caller="me") as watch:
        client.client_kill_filter(_type="pubsub")
        assert watch.changed(REREAD_SECONDS) == {"t-1"}
