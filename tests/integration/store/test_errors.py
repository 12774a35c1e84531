"""Each cause of a store error, with real servers: for a caller, for an operator, and in the log."""

import contextlib
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import redis
from support.servers import RedisServer, free_port, running, running_redis, wait_until
from task_status_service.dev.redis_server import find_redis_server
from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.store import error_causes as causes
from task_status_service.store import errors
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note
from task_status_worker.record.sentinel import MasterUnknown

KEYS = Keys()
PASSWORD = "s3cr3t-canary"
NOTE = Note(task_id="t-1", fact=Fact.SUBMITTED)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that the tests make fail."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        yield server


def store_at(url: str) -> RedisStore:
    """Return a store at a URL."""
    return RedisStore(connect_to(url, sentinel_master=""), results=None, keys=KEYS, retention=Retention())


def read(store: RedisStore) -> None:
    """Read a task."""
    store.read("t-1")


def write(store: RedisStore) -> None:
    """Write a note."""
    store.note(NOTE)


def read_workers(store: RedisStore) -> None:
    """Read a shared key with a command: the scripts skip keys of a wrong type, or repair them."""
    (client,) = store.publishers()
    with store._named_errors():  # noqa: SLF001  # no use of the store sends such a command any more
        client.zcard(KEYS.workers)


@contextmanager
def configured(server: RedisServer, **options: object) -> Iterator[str]:
    """Change the configuration during a `with` block; yield the URL."""
    with server.client() as client:
        names = {name.replace("_", "-"): value for name, value in options.items()}
        before = {name: client.config_get(name)[name] for name in names}
        for name, value in names.items():
            client.config_set(name, value)
        try:
            yield server.url
        finally:
            for name, value in before.items():
                client.config_set(name, value)


@contextmanager
def password(server: RedisServer) -> Iterator[str]:
    """Require a password, and use another one."""
    with server.client() as client:
        client.ping()
        client.config_set("requirepass", PASSWORD)
        try:
            yield server.url.replace("redis://", f"redis://:{PASSWORD}-old@")
        finally:
            client.config_set("requirepass", "")


@contextmanager
def no_password(server: RedisServer) -> Iterator[str]:
    """Require a password, and use none."""
    with password(server):
        yield server.url


@contextmanager
def permissions(server: RedisServer) -> Iterator[str]:
    """Use a user without scripts."""
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "on", f">{PASSWORD}", "~*", "&*", "+@all", "-@scripting")
        yield server.url.replace("redis://", f"redis://few:{PASSWORD}@")
        client.execute_command("ACL", "DELUSER", "few")


@contextmanager
def wrong_type(server: RedisServer) -> Iterator[str]:
    """Overwrite a key of the service."""
    with server.client() as client:
        client.set(KEYS.workers, "x")
        yield server.url
        client.delete(KEYS.workers)


@contextmanager
def failed_save(folder: Path) -> Iterator[str]:
    """Run a server whose snapshot fails, because its folder is gone."""
    (folder / "gone").mkdir()
    with running_redis(folder / "gone") as server, server.client() as client:
        client.config_set("save", "3600 1")
        shutil.rmtree(folder / "gone")
        client.bgsave()
        wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", what="the failed snapshot")
        yield server.url


@contextmanager
def replica(server: RedisServer) -> Iterator[str]:
    """Make the server a replica."""
    with server.client() as client:
        client.replicaof("127.0.0.1", "1")
        yield server.url
        client.replicaof("no", "one")


@contextmanager
def busy(server: RedisServer) -> Iterator[str]:
    """Run a script without end."""
    with configured(server, lua_time_limit=20) as url, server.client() as client:

        def run() -> None:
            with contextlib.suppress(redis.RedisError), server.client() as other:
                other.eval("while true do end", 0)

        thread = threading.Thread(target=run)
        thread.start()
        wait_until(lambda: _is_busy(server), what="the busy script")
        yield url
        client.script_kill()
        thread.join()


def _is_busy(server: RedisServer) -> bool:
    with server.client() as client:
        try:
            client.ping()
        except redis.ResponseError:
            return True
    return False


@contextmanager
def paused(server: RedisServer) -> Iterator[str]:
    """Stop the process: it accepts connections, and does not answer."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    yield server.url
    server.process.send_signal(signal.SIGCONT)


@contextmanager
def at(url: str) -> Iterator[str]:
    """Use a URL."""
    yield url


@contextmanager
def tls(folder: Path) -> Iterator[str]:
    """Run a server whose only port is for TLS, and use it without TLS."""
    port, key, certificate = free_port(), folder / "key.pem", folder / "cert.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
    subprocess.run([*made, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    command = [str(find_redis_server()), "--port", "0", "--tls-port", str(port), "--tls-auth-clients", "no"]
    command += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key), "--tls-ca-cert-file", str(certificate)]
    log = folder / "redis.log"
    with running([*command, "--dir", str(folder)], environ={}, log=log) as process:
        wait_until(lambda: b"Ready to accept" in log.read_bytes() or process.poll() is not None, what="Redis")
        if process.poll() is not None:
            pytest.skip("This Redis was built without TLS.")
        yield f"redis://127.0.0.1:{port}/0"


Broken = Callable[[RedisServer, Path], AbstractContextManager[str]]

#: name -> (how, operation, cause, part of the text for an operator)
BROKEN: dict[str, tuple[Broken, Callable[[RedisStore], object], causes.Cause, str]] = {
    "another password": (lambda server, _: password(server), read, causes.CREDENTIALS, "rejects the user"),
    "no password": (lambda server, _: no_password(server), write, causes.CREDENTIALS, "rejects the user"),
    "no permission": (lambda server, _: permissions(server), write, causes.FORBIDDEN, "to run `EVALSHA`"),
    "a key of a wrong type": (
        lambda server, _: wrong_type(server),
        read_workers,
        causes.WRONG_TYPE,
        "'task-status:workers' has the type string, and must be a zset",
    ),
    "full": (lambda server, _: configured(server, maxmemory=1), write, causes.FULL, "Raise `maxmemory`"),
    "a failed save": (lambda _, folder: failed_save(folder), write, causes.DISK, "cannot save"),
    "a replica": (lambda server, _: replica(server), write, causes.READ_ONLY, "is a replica"),
    "too few replicas": (
        lambda server, _: configured(server, min_replicas_to_write=1),
        write,
        causes.NO_REPLICAS,
        "min-replicas-to-write",
    ),
    "a busy script": (lambda server, _: busy(server), read, causes.BUSY, "SCRIPT KILL"),
    "too many clients": (
        lambda server, _: configured(server, maxclients=1),
        read,
        causes.TOO_MANY_CLIENTS,
        "maxclients",
    ),
    "paused": (lambda server, _: paused(server), read, causes.SILENT, "does not answer"),
    "no server": (
        lambda _, __: at(f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"),
        read,
        causes.REFUSED,
        "Start it",
    ),
    "no such host": (
        lambda _, __: at(f"redis://:{PASSWORD}@no-such.invalid/0"),
        read,
        causes.NAME,
        "no-such.invalid",
    ),
    "no socket": (lambda _, folder: at(f"unix://{folder}/no.sock"), write, causes.NO_SOCKET, "/no.sock"),
    "TLS to a plain port": (
        lambda server, _: at(server.url.replace("redis://", "rediss://")),
        read,
        causes.TLS,
        "TLS connection",
    ),
    "a plain connection to a TLS port": (lambda _, folder: tls(folder), read, causes.PROTOCOL, "rediss://"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_each_cause_has_its_own_text(
    how: str, server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller reads the cause without the address, an operator with it; the log has one line, and no password."""
    broken, use, cause, text = BROKEN[how]
    with broken(server, tmp_path) as url:
        store = store_at(url)
        raised = [_error_of(use, store) for _ in range(3)]
        store.close()
    for error in raised:
        assert str(error) == cause.public
        assert isinstance(error, StoreFull) == (cause is causes.FULL)
        assert text in error.cause
        assert url.rpartition("@")[2].removeprefix("unix://").rpartition("/")[0].split("//")[-1] in error.cause
    lines = [record.getMessage() for record in caplog.records if record.name == errors.__name__]
    assert len(lines) == 1
    assert text in lines[0]
    assert PASSWORD not in caplog.text + "".join(error.cause for error in raised)


def _error_of(use: Callable[[RedisStore], object], store: RedisStore) -> StoreUnavailable:
    with pytest.raises(StoreUnavailable) as raised:
        use(store)
    return raised.value


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), causes.LOADING),
        (redis.ResponseError("LOADING Redis is loading the dataset in memory"), causes.LOADING),
        (redis.ResponseError("-DENIED Redis is running in protected mode"), causes.PROTECTED),
        (MasterUnknown("A failover of the master 'main' is in progress"), causes.FAILOVER),
        (redis.ConnectionError("No connection available."), causes.NO_CONNECTION),
        (
            redis.ResponseError("ERR Error running script (call to f_1): @user_script:12: OOM command"),
            causes.FULL,
        ),
        (redis.ResponseError("Command # 1 (SET x) of pipeline caused error: OOM command"), causes.FULL),
        (redis.ResponseError("ERR unknown command 'X'"), causes.OTHER),
        (redis.ResponseError("ERR the value OOMPH is wrong"), causes.OTHER),
        (TimeoutError(), causes.SILENT),
    ],
)
def test_cause_of_an_error(error: Exception, cause: causes.Cause) -> None:
    """A cause is found in errors of scripts and pipelines too, and not within other words."""
    assert causes.cause_of(error) is cause
