"""The recorder on a real Redis, there and away."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from support.servers import RedisServer, free_port, running_redis, wait_until
from task_status_worker.record.codec import unpack
from task_status_worker.record.connection import connect, is_redis_url
from task_status_worker.record.keys import SEEN_SECONDS, SERVING_SECONDS, Keys, Retention
from task_status_worker.record.model import Fact, Note
from task_status_worker.recorder import Flags, Recorder, Refused, StatusEvent, Unreachable
from task_status_worker.redis_client import RedisRecordClient

KEYS = Keys("kit:")


def recorder_for(url: str, **options: Any) -> Recorder:
    """Make a recorder as `install` does."""
    return Recorder(lambda: RedisRecordClient(url), keys=KEYS, retention=Retention(), **options)


def started(task_id: str) -> Note:
    """Make a note."""
    return Note(task_id=task_id, fact=Fact.STARTED, run="1", worker="w@h")


def test_a_note_reaches_the_record(redis_url: str, redis_server: RedisServer) -> None:
    """And the answer tells of a cancel."""
    recorder = recorder_for(redis_url)
    noted = recorder.note(started("t"))
    assert noted is not None
    assert (noted.cancel_requested, noted.final) == (False, False)
    with redis_server.client() as client:
        record = unpack(client.hgetall(KEYS.record("t")))  # type: ignore[arg-type]  # redis-py types it as sync or async
        assert record is not None
        assert (record.fact, record.worker) == (Fact.STARTED, "w@h")
        recorder.note(Note(task_id="t", cancel_requested=True))
        client.script_flush()
    noted = recorder.note(Note(task_id="t", fact=Fact.FINISHED, outcome="SUCCESS"))
    assert noted is not None
    assert (noted.cancel_requested, noted.final) == (True, True), "also after Redis has forgotten the script"


def test_redis_goes_and_comes_back(tmp_path: Path) -> None:
    """Nothing is lost or changes its place, the times are those of when it happened, and no task waits for it."""
    with running_redis(tmp_path, durable=True) as server:
        recorder = recorder_for(server.url, flush_interval_seconds=0.05)
        recorder.note(Note(task_id="t", fact=Fact.SUBMITTED))
        server.stop()

        begun = time.monotonic()
        for _ in range(200):
            recorder.note(started("t"))
        assert time.monotonic() - begun < 1
        recorder.note(Note(task_id="t", fact=Fact.FINISHED, run="1", outcome="SUCCESS"))
        taken_at = time.monotonic()
        server.start()
        wait_until(lambda: recorder.buffered == 0, what="the flusher")

        with server.client() as client:
            record = unpack(client.hgetall(KEYS.record("t")))  # type: ignore[arg-type]  # as above
            seconds = float(client.time()[0])  # type: ignore[index]  # as above
        assert record is not None
        assert (record.fact, record.executions, record.seq) == (Fact.FINISHED, 1, 202)
        assert record.finished_at is not None
        assert abs(seconds - record.finished_at.timestamp() - (time.monotonic() - taken_at)) < 2


def test_a_stalled_redis_costs_one_timeout(redis_server: RedisServer, redis_url: str) -> None:
    """A Redis that accepts and does not answer is given up soon, and then left alone."""
    recorder = recorder_for(redis_url, flush_interval_seconds=3_600)
    recorder.note(started("before"))
    with redis_server.client() as client:
        client.client_pause(1_500, all=True)
        begun = time.monotonic()
        for n in range(20):
            recorder.note(started(str(n)))
        assert time.monotonic() - begun < 1
        wait_until(recorder.flush, what="Redis to answer again")
        assert client.exists(KEYS.record("19"))


def test_a_record_of_another_type_is_refused(redis_server: RedisServer, redis_url: str) -> None:
    """Somebody else's key never stops what waits behind it."""
    with redis_server.client() as client:
        client.set(KEYS.record("bad"), "mine")
        recorder = recorder_for(redis_url)
        assert recorder.note(started("bad")) is None
        assert recorder.buffered == 0
        with pytest.raises(Refused):
            RedisRecordClient(redis_url).see_worker(KEYS.record("bad"), "w@h")


@pytest.mark.parametrize(("setting", "hinders", "usual"), [("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)])
def test_a_redis_that_takes_no_writes_is_worth_another_attempt(
    redis_server: RedisServer, redis_url: str, setting: str, hinders: int, usual: int
) -> None:
    """It answers, but is full, or has lost its replicas: the note is kept."""
    with redis_server.client() as client:
        recorder = recorder_for(redis_url, flush_interval_seconds=3_600)
        client.config_set(setting, hinders)
        try:
            assert recorder.note(started("t")) is None
        finally:
            client.config_set(setting, usual)
        assert recorder.buffered == 1
        assert recorder.flush()
        assert client.exists(KEYS.record("t"))


def test_a_redis_that_cannot_save_is_worth_another_attempt(tmp_path: Path) -> None:
    """Its disk is full, or gone: it takes no writes until somebody has mended that, and then the note."""
    with running_redis(tmp_path) as server, server.client() as client:
        recorder = recorder_for(server.url, flush_interval_seconds=3_600)
        client.config_set("save", "3600 1")
        (tmp_path / "dump.rdb").mkdir()  # in the place of the file
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="Redis to fail")

        assert recorder.note(started("t")) is None
        assert recorder.buffered == 1
        client.config_set("stop-writes-on-bgsave-error", "no")
        assert recorder.flush()
        assert client.exists(KEYS.record("t"))


def test_flags(redis_server: RedisServer, redis_url: str) -> None:
    """Of each record in turn; what is no record, or of another type, raises none."""
    recorder = recorder_for(redis_url)
    recorder.note(Note(task_id="canceled", cancel_requested=True))
    recorder.note(Note(task_id="killed", cancel_requested=True, terminate=True))
    recorder.note(Note(task_id="runs", fact=Fact.STARTED))
    recorder.note(Note(task_id="ended", fact=Fact.FINISHED))
    with redis_server.client() as client:
        client.set(KEYS.record("bad"), "mine")
    assert recorder.flags(["never was", "canceled", "bad", "killed", "runs", "ended"]) == [
        Flags(),
        Flags(cancel_requested=True),
        Flags(),
        Flags(cancel_requested=True, terminate=True),
        Flags(running=True),
        Flags(final=True),
    ]


def test_workers_are_seen_and_forgotten(redis_server: RedisServer, redis_url: str) -> None:
    """By Redis's clock, for a day."""
    with redis_server.client() as client:
        now = float(client.time()[0])  # type: ignore[index]  # redis-py types it as sync or async
        client.zadd(KEYS.workers, {"gone": now - SEEN_SECONDS - 5, "quiet": now - 100})
        recorder = recorder_for(redis_url)
        scores = []
        for _ in range(5):
            assert recorder.see_worker("w@h/1") is not StatusEvent.NO
            assert recorder.see_worker("w@h/1") is StatusEvent.AGAIN
            seen: Any = dict(client.zrange(KEYS.workers, 0, -1, withscores=True))
            assert set(seen) == {b"quiet", b"w@h/1"}
            scores.append(seen[b"w@h/1"])
        assert scores == sorted(set(scores)), "to less than a second"
        assert all(abs(score - now) < 5 for score in scores)


def test_task_types_are_announced_and_forgotten(redis_server: RedisServer, redis_url: str) -> None:
    """What nobody has announced for a day, or cannot be read, goes; what others announced stays."""
    with redis_server.client() as client:
        now = int(client.time()[0])  # type: ignore[index]  # as above

        def entry(at: int) -> bytes:
            return msgspec.json.encode({"announced_at": at})

        client.hset(
            KEYS.task_types,
            mapping={"old": entry(now - SEEN_SECONDS - 5), "bad": b"{", "others": entry(now - 100)},
        )
        recorder = recorder_for(redis_url)
        recorder.announce(lambda at: {"mine": entry(at)})
        recorder.announce(lambda _: {})
        stored: Any = client.hgetall(KEYS.task_types)
        assert set(stored) == {b"others", b"mine"}
        assert abs(msgspec.json.decode(stored[b"mine"])["announced_at"] - now) < 5


def test_what_instances_serve_is_kept_for_minutes(redis_server: RedisServer, redis_url: str) -> None:
    """Each start of a worker is another instance, so those that are gone are soon forgotten."""
    with redis_server.client() as client:
        now = int(client.time()[0])  # type: ignore[index]  # as above
        for name, at in (("gone", now - SERVING_SECONDS - 5), ("quiet", now - 100)):
            client.hset(KEYS.serving, name, msgspec.json.encode({"announced_at": at}))
        recorder_for(redis_url).serve("w@h/1", lambda at: msgspec.json.encode({"announced_at": at}))
        assert set(client.hkeys(KEYS.serving)) == {b"quiet", b"w@h/1"}  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:{port}/0",
        "redis://127.0.0.1:{port}",
        "package.module:Backend+redis://127.0.0.1:{port}/0",
        "rediss://127.0.0.1:{port}/0?ssl_cert_reqs=CERT_NONE",
        "unix:///no/such/socket",
        "socket:///no/such/socket?virtual_host=1",
        "redis+socket:///no/such/socket?virtual_host=1",
        "sentinel://127.0.0.1:{port}/0;sentinel://127.0.0.1:{port}/0",
    ],
)
def test_every_way_to_name_a_redis(url: str) -> None:
    """Celery's ways to write it are understood, and one that is away is said to be, at once."""
    assert is_redis_url(url)
    client = RedisRecordClient(url.format(port=free_port()), sentinel_master="mymaster")
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        client.see_worker("k", "w@h")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("url", ["amqp://localhost", "rpc://", "db+sqlite:///x", "nonsense"])
def test_what_is_no_redis_is_refused(url: str) -> None:
    """Before anything depends on it."""
    assert not is_redis_url(url)
    with pytest.raises(ValueError, match="not a Redis URL"):
        RedisRecordClient(url)


def test_a_sentinel_needs_the_masters_name() -> None:
    """It cannot be guessed."""
    with pytest.raises(ValueError, match="master_name"):
        RedisRecordClient("sentinel://127.0.0.1:26379")


def test_the_urls_own_settings_come_first() -> None:
    """A user who sets a timeout in the URL means it."""
    client: Any = RedisRecordClient("redis://127.0.0.1:1/0?socket_timeout=7")
    assert client._redis.get_connection_kwargs()["socket_timeout"] == 7  # noqa: SLF001  # what the URL has set
    assert isinstance(client._redis, redis.Redis)  # noqa: SLF001  # as above


def test_what_is_escaped_in_a_url_is_not_in_the_password() -> None:
    """A URL can hold any password, of Sentinel's master too."""
    for url in ("redis://u%40x:p%2Fw@127.0.0.1:1/3", "sentinel://u%40x:p%2Fw@127.0.0.1:1/3"):
        options = connect(url, timeout_seconds=1, sentinel_master="m").get_connection_kwargs()
        assert (options["username"], options["password"], options["db"]) == ("u@x", "p/w", 3)
