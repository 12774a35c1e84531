"""The record client: the fake and the one for Redis pass the same tests; then outages of a real Redis."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
import redis
from support.record_client import FakeClient
from support.servers import RedisServer, free_port, running_redis, wait_until
from task_status_worker.record.codec import named, unpack
from task_status_worker.record.connection import connect, is_redis_url
from task_status_worker.record.keys import CONSUMER_SECONDS, SEEN_SECONDS, Keys, Retention
from task_status_worker.record.model import Denial, Fact, Note, Record, StartRequest
from task_status_worker.recorder import Flags, RecordClient, Recorder, Refused, StatusEvent, Unreachable
from task_status_worker.redis_client import RedisRecordClient

KEYS = Keys("kit:")


def recorder_for(url: str, **options: Any) -> Recorder:
    """Return a recorder as `install` makes it."""
    return Recorder(lambda: RedisRecordClient(url), keys=KEYS, retention=Retention(), **options)


def started(task_id: str) -> Note:
    """Return the note of a start."""
    return Note(task_id=task_id, fact=Fact.STARTED, run="1", worker="w@h")


def announce(recorder: Recorder) -> None:
    """Announce a task type and its consumer."""
    recorder.announce(lambda at: {"demo.add": entry(at)})
    recorder.announce_consumer("w@h/1", entry)


class ArrangedClient(Protocol):
    """A record client, and direct access to its store."""

    client: RecordClient

    @property
    def now(self) -> float: ...
    def record(self, task_id: str) -> Record | None: ...
    def put_text(self, key: str) -> None: ...
    def lose_scripts(self) -> None: ...
    def put_seen(self, instance: str, at: float) -> None: ...
    def seen(self) -> dict[str, float]: ...
    def put_entry(self, key: str, name: str, entry: bytes) -> None: ...
    def entries(self, key: str) -> dict[str, bytes]: ...


class ArrangedFake:
    """The client in memory."""

    def __init__(self) -> None:
        self.client = FakeClient()
        self.client.now = 1_800_000_000.5

    @property
    def now(self) -> float:
        return self.client.now

    def record(self, task_id: str) -> Record | None:
        return unpack(self.client.records.get(KEYS.record(task_id)) or {})

    def put_text(self, key: str) -> None:
        self.client.records[key] = None

    def lose_scripts(self) -> None:
        pass

    def put_seen(self, instance: str, at: float) -> None:
        self.client.sorted_sets.setdefault(KEYS.workers, {})[instance] = at

    def seen(self) -> dict[str, float]:
        return dict(self.client.sorted_sets[KEYS.workers])

    def put_entry(self, key: str, name: str, entry: bytes) -> None:
        self.client.hashes.setdefault(key, {})[name] = entry

    def entries(self, key: str) -> dict[str, bytes]:
        return dict(self.client.hashes[key])


class ArrangedRedis:
    """The client for Redis, with a real one."""

    def __init__(self, url: str, redis_: Any) -> None:
        self.client = RedisRecordClient(url)
        self._redis = redis_

    @property
    def now(self) -> float:
        return float(self._redis.time()[0])

    def record(self, task_id: str) -> Record | None:
        return unpack(named(self._redis.hgetall(KEYS.record(task_id))))

    def put_text(self, key: str) -> None:
        self._redis.set(key, "mine")

    def lose_scripts(self) -> None:
        self._redis.script_flush()

    def put_seen(self, instance: str, at: float) -> None:
        self._redis.zadd(KEYS.workers, {instance: at})

    def seen(self) -> dict[str, float]:
        return {name.decode(): at for name, at in self._redis.zrange(KEYS.workers, 0, -1, withscores=True)}

    def put_entry(self, key: str, name: str, entry: bytes) -> None:
        self._redis.hset(key, name, entry)

    def entries(self, key: str) -> dict[str, bytes]:
        return {name.decode(): entry for name, entry in self._redis.hgetall(key).items()}


@pytest.fixture(params=["fake", "redis"])
def arranged(request: pytest.FixtureRequest) -> Iterator[ArrangedClient]:
    """Return each kind of client, with an empty store."""
    if request.param == "fake":
        yield ArrangedFake()
        return
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        yield ArrangedRedis(url, client)


def recorder_with(arranged: ArrangedClient, **options: Any) -> Recorder:
    """Return a recorder that writes to a client."""
    return Recorder(lambda: arranged.client, keys=KEYS, retention=Retention(), **options)


def entry(at: float) -> bytes:
    """Return an announcement of a time."""
    return msgspec.json.encode({"announced_at": int(at)})


def test_an_argument_that_redis_cannot_take_is_refused(redis_url: str) -> None:
    """An argument that redis-py cannot encode is a permanent error: waiting for Redis does not mend it."""
    with pytest.raises(Refused):
        RedisRecordClient(redis_url).note(["key"], [object()])  # type: ignore[list-item]  # as from another library


def test_a_note_reaches_the_record(arranged: ArrangedClient) -> None:
    """A note is written, and its answer says whether a cancel is requested."""
    recorder = recorder_with(arranged)
    noted = recorder.note(started("t"))
    assert noted is not None
    assert (noted.cancel_requested, noted.final) == (False, False)
    record = arranged.record("t")
    assert record is not None
    assert (record.fact, record.worker) == (Fact.STARTED, "w@h")
    recorder.note(Note(task_id="t", cancel_requested=True))
    arranged.lose_scripts()
    noted = recorder.note(Note(task_id="t", fact=Fact.FINISHED, outcome="SUCCESS"))
    assert noted is not None
    assert (noted.cancel_requested, noted.final) == (True, True), "also after Redis has lost the script"


def test_a_start_is_denied_by_the_record(arranged: ArrangedClient) -> None:
    """A requested start of an attempt that another execution has started is a duplicate delivery."""
    recorder = recorder_with(arranged)
    for run, denial in (("1", None), ("2", Denial.DUPLICATE)):
        noted = recorder.ask(msgspec.structs.replace(started("t"), run=run, start_request=StartRequest()))
        assert noted is not None
        assert noted.denial is denial


def test_redis_goes_and_comes_back(tmp_path: Path) -> None:
    """After an outage all notes are written in order, with their original times, and no task has waited."""
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
            record = unpack(named(client.hgetall(KEYS.record("t"))))  # type: ignore[arg-type]  # as above
            seconds = float(client.time()[0])  # type: ignore[index]  # as above
        assert record is not None
        assert (record.fact, record.executions, record.seq) == (Fact.FINISHED, 1, 202)
        assert record.finished_at is not None
        assert abs(seconds - record.finished_at.timestamp() - (time.monotonic() - taken_at)) < 2


def test_a_stalled_redis_costs_one_timeout(redis_server: RedisServer, redis_url: str) -> None:
    """A Redis that accepts connections but does not answer costs one timeout; then notes are buffered."""
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


def test_a_record_of_another_type_is_replaced(arranged: ArrangedClient) -> None:
    """A note replaces a key of another type."""
    arranged.put_text(KEYS.record("bad"))
    recorder = recorder_with(arranged)
    noted = recorder.note(started("bad"))
    assert noted is not None
    assert noted.advanced


def test_a_key_of_another_type_is_repaired(arranged: ArrangedClient) -> None:
    """A heartbeat to a key of another type deletes it, notes its name and type, and the next one is stored."""
    arranged.put_text(KEYS.workers)
    recorder = recorder_with(arranged)
    assert recorder.see_worker("w@h/1") is StatusEvent.NO
    assert recorder.see_worker("w@h/1") is StatusEvent.NEW
    assert arranged.entries(KEYS.repairs) == {KEYS.workers: b"string"}
    assert set(arranged.seen()) == {"w@h/1"}


@pytest.mark.parametrize(("setting", "hinders", "usual"), [("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)])
def test_buffers_while_redis_rejects_writes(
    redis_server: RedisServer, redis_url: str, setting: str, hinders: int, usual: int
) -> None:
    """A note is buffered if Redis rejects writes because its memory is full or its replicas are lost."""
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


def test_buffers_while_redis_cannot_save(tmp_path: Path) -> None:
    """A note is buffered while Redis rejects writes because it cannot save to its disk."""
    with running_redis(tmp_path) as server, server.client() as client:
        recorder = recorder_for(server.url, flush_interval_seconds=3_600)
        client.config_set("save", "3600 1")
        (tmp_path / "dump.rdb").mkdir()  # blocks the file of that name
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="Redis to fail")

        assert recorder.note(started("t")) is None
        assert recorder.buffered == 1
        client.config_set("stop-writes-on-bgsave-error", "no")
        assert recorder.flush()
        assert client.exists(KEYS.record("t"))


def test_flags(arranged: ArrangedClient) -> None:
    """Flags come in the order of the tasks; a missing record, or a key of another type, has none."""
    recorder = recorder_with(arranged)
    recorder.note(Note(task_id="canceled", cancel_requested=True))
    recorder.note(Note(task_id="killed", cancel_requested=True, terminate=True))
    recorder.note(Note(task_id="runs", fact=Fact.STARTED))
    recorder.note(Note(task_id="ended", fact=Fact.FINISHED))
    arranged.put_text(KEYS.record("bad"))
    assert recorder.flags(["never was", "canceled", "bad", "killed", "runs", "ended"]) == [
        Flags(),
        Flags(cancel_requested=True),
        Flags(),
        Flags(cancel_requested=True, terminate=True),
        Flags(running=True),
        Flags(final=True),
    ]


def test_workers_are_seen_and_forgotten(arranged: ArrangedClient) -> None:
    """Heartbeats are stored by the Redis clock with fractions of a second, and forgotten after a day."""
    now = arranged.now
    arranged.put_seen("gone", now - SEEN_SECONDS - 5)
    arranged.put_seen("quiet", now - 100)
    recorder = recorder_with(arranged)
    announce(recorder)
    scores = []
    for _ in range(5):
        assert recorder.see_worker("w@h/1") is not StatusEvent.NO
        assert recorder.see_worker("w@h/1") is StatusEvent.AGAIN
        seen = arranged.seen()
        assert set(seen) == {"quiet", "w@h/1"}
        scores.append(seen["w@h/1"])
    assert scores == sorted(set(scores)), "to less than a second"
    assert all(abs(score - now) < 5 for score in scores)


@pytest.mark.parametrize("shift_seconds", [3_600.0, -3_600.0])
def test_a_wrong_clock_is_logged_once(
    arranged: ArrangedClient, shift_seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose clock differs from that of Redis logs one warning, until the clock is right again."""
    shift = [0.0]
    recorder = recorder_with(arranged, wall_clock=lambda: arranged.now + shift[0])
    for shift[0] in (0.0, shift_seconds, shift_seconds, 0.0):
        recorder.see_worker("w@h/1")
    [line] = [record.getMessage() for record in caplog.records]
    assert f" s {'ahead of' if shift_seconds > 0 else 'behind'} the clock of Redis" in line


def test_task_types_are_announced_and_forgotten(arranged: ArrangedClient) -> None:
    """An announcement that is unreadable, or older than a day, is deleted; those of other workers stay."""
    now = arranged.now
    for name, stored in (("old", entry(now - SEEN_SECONDS - 5)), ("bad", b"{"), ("others", entry(now - 100))):
        arranged.put_entry(KEYS.task_types, name, stored)
    recorder = recorder_with(arranged)
    recorder.announce(lambda at: {"mine": entry(at)})
    recorder.announce(lambda _: {})
    stored_entries = arranged.entries(KEYS.task_types)
    assert set(stored_entries) == {"others", "mine"}
    assert abs(msgspec.json.decode(stored_entries["mine"])["announced_at"] - now) < 5


def test_each_announcement_checks_some_stored_entries(redis_url: str) -> None:
    """With any number of stored entries, each announcement checks a hundred; too large ones are deleted too."""
    with redis.Redis.from_url(redis_url) as client:
        arranged = ArrangedRedis(redis_url, client)
        old = {f"old-{number}": entry(arranged.now - SEEN_SECONDS - 5) for number in range(950)}
        client.hset(KEYS.task_types, mapping=old | {"large": entry(arranged.now)[:-1] + b" " * 300_000 + b"}"})
        recorder = recorder_with(arranged)
        recorder.announce(lambda at: {f"mine-{number}": entry(at) for number in range(250)})
        assert client.hlen(KEYS.task_types) > 800
        for _ in range(1_000):
            recorder.announce(lambda at: {"mine-0": entry(at)})
            if client.hlen(KEYS.task_types) == 250:
                break
        assert all(name.startswith("mine-") for name in arranged.entries(KEYS.task_types))


@pytest.mark.parametrize("key", [KEYS.consumers, KEYS.task_types])
def test_a_worker_notices_that_its_announcements_are_missing(arranged: ArrangedClient, key: str) -> None:
    """A heartbeat is as the first one if a key of announcements has another type, until the next announcement."""
    recorder = recorder_with(arranged)
    announce(recorder)
    for expected in (StatusEvent.NEW, StatusEvent.AGAIN):
        assert recorder.see_worker("w@h/1") is expected
    arranged.put_text(key)
    for _ in range(2):
        assert recorder.see_worker("w@h/1") is StatusEvent.NEW
    announce(recorder)
    assert recorder.see_worker("w@h/1") is StatusEvent.AGAIN


def test_a_worker_notices_that_its_entry_is_deleted(redis_url: str) -> None:
    """A heartbeat is as the first one without the entry of the instance, even if there are others."""
    with redis.Redis.from_url(redis_url) as client:
        recorder = recorder_for(redis_url)
        announce(recorder)
        recorder.announce_consumer("w@h/2", entry)
        recorder.see_worker("w@h/1")
        client.hdel(KEYS.consumers, "w@h/1")
        assert recorder.see_worker("w@h/1") is StatusEvent.NEW


def test_consumers_are_kept_for_minutes(arranged: ArrangedClient) -> None:
    """Each start of a worker is a new instance, so the entries of ended instances are deleted soon."""
    now = arranged.now
    for name, at in (("gone", now - CONSUMER_SECONDS - 5), ("quiet", now - 100)):
        arranged.put_entry(KEYS.consumers, name, entry(at))
    recorder_with(arranged).announce_consumer("w@h/1", entry)
    assert set(arranged.entries(KEYS.consumers)) == {"quiet", "w@h/1"}


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
    """Every URL format of Celery is supported, and an unreachable Redis raises soon."""
    assert is_redis_url(url)
    client = RedisRecordClient(url.format(port=free_port()), sentinel_master="mymaster")
    begun = time.monotonic()
    with pytest.raises(Unreachable):
        client.see_worker("k", "w@h", announced=["c", "t"], repairs="r")
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize("url", ["amqp://localhost", "rpc://", "db+sqlite:///x", "nonsense"])
def test_rejects_a_url_that_is_not_redis(url: str) -> None:
    """A URL that is not Redis raises when the client is made."""
    assert not is_redis_url(url)
    with pytest.raises(ValueError, match="not a Redis URL"):
        RedisRecordClient(url)


def test_a_sentinel_needs_the_masters_name() -> None:
    """A Sentinel URL without the name of a master raises."""
    with pytest.raises(ValueError, match="master_name"):
        RedisRecordClient("sentinel://127.0.0.1:26379")


def test_the_urls_own_settings_come_first() -> None:
    """A timeout in the URL takes precedence over the default."""
    client: Any = RedisRecordClient("redis://127.0.0.1:1/0?socket_timeout=7")
    assert client._redis.get_connection_kwargs()["socket_timeout"] == 7  # noqa: SLF001  # what the URL has set
    assert isinstance(client._redis, redis.Redis)  # noqa: SLF001  # as above


def test_decodes_an_escaped_password() -> None:
    """An escaped password in a URL is decoded, also for a Sentinel master."""
    for url in ("redis://u%40x:p%2Fw@127.0.0.1:1/3", "sentinel://u%40x:p%2Fw@127.0.0.1:1/3"):
        options = connect(url, timeout_seconds=1, sentinel_master="m").get_connection_kwargs()
        assert (options["username"], options["password"], options["db"]) == ("u@x", "p/w", 3)
