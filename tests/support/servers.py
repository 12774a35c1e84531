"""Real processes for tests and the benchmark. Each has its own port, and is stopped by its pid."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import redis
from task_status_service.dev.redis_server import find_redis_server, redis_command

#: the Python that runs workers: `make test-celery-versions` names one with another version of Celery
WORKER_PYTHON = os.environ.get("WORKER_PYTHON", sys.executable)


def free_port() -> int:
    """Return a free TCP port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(
    holds: Callable[[], object], *, timeout: float = 20.0, what: str = "the condition", pause: float = 0.02
) -> object:
    """Call `holds` every `pause` seconds until it returns a true value, and return the value.

    Raises:
        AssertionError: after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = holds()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout} s, waiting for {what}; last: {value!r}")
        time.sleep(pause)


class RedisServer:
    """A Redis server for one session or one test, which can be killed and restarted with its data."""

    def __init__(self, folder: Path, *, durable: bool = False, users: Path | None = None, admin: str = "") -> None:
        """Create a server; `users` is an ACL file, and `admin` the credentials of a user with all permissions."""
        self.port = free_port()
        self.folder = folder
        self.durable = durable
        self.users = users
        self.admin = admin
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_as(self.admin)

    def url_as(self, credentials: str) -> str:
        """Return the URL for a user, given as `name:password`."""
        return f"redis://{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def start(self) -> None:
        command = redis_command(
            find_redis_server(), port=self.port, folder=self.folder, durable=self.durable, users=self.users
        )
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self.answers, what="Redis to answer")

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False

    def stop(self) -> None:
        """Kill the server, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def forget(self) -> None:
        """Delete the data of a stopped server."""
        shutil.rmtree(self.folder / "appendonlydir", ignore_errors=True)  # since Redis 7
        (self.folder / "appendonly.aof").unlink(missing_ok=True)


@contextlib.contextmanager
def running_redis(folder: Path, *, durable: bool = False) -> Iterator[RedisServer]:
    """Run a Redis server within a `with` block."""
    server = RedisServer(folder, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running(
    command: list[str], *, environ: Mapping[str, str], log: Path, patience_seconds: float = 20.0
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process and its children within a `with` block; a file receives the output."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **environ}, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(patience_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # A killed process leaves its children running; they are in its session.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Worker(NamedTuple):
    """A real Celery worker."""

    process: subprocess.Popen[bytes]
    #: Celery's node name
    hostname: str
    log: Path


class Server(NamedTuple):
    """The real service under gunicorn; the process is gunicorn's master."""

    process: subprocess.Popen[bytes]
    url: str


@contextlib.contextmanager
def running_when_ready(
    command: list[str],
    is_ready: Callable[[], bool],
    *,
    environ: Mapping[str, str],
    log: Path,
    what: str,
    timeout: float = 20.0,
    patience_seconds: float = 20.0,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process within a `with` block, which begins when the process is ready.

    Raises:
        AssertionError: the process exited, or was not ready within `timeout` seconds.
    """
    with running(command, environ=environ, log=log, patience_seconds=patience_seconds) as process:
        wait_until(lambda: is_ready() or process.poll() is not None, timeout=timeout, what=what)
        assert process.poll() is None, f"{what} exited:\n{log.read_text()}"
        yield process


@contextlib.contextmanager
def worker_process(
    app: str,
    *options: str,
    redis_url: str,
    folder: Path,
    name: str = "test",
    environ: Mapping[str, str] | None = None,
    patience_seconds: float = 20.0,
) -> Iterator[Worker]:
    """Run a real Celery worker, and wait until it is ready."""
    hostname = f"{app}@{name}"
    log = folder / f"worker-{hostname}.log"
    log.touch()
    before = log.stat().st_size
    command = [WORKER_PYTHON, "-m", "celery", "-q", "-A", app, "worker", "--loglevel", "INFO", *options]
    environ = {"TASK_STATUS_REDIS_URL": redis_url, "PYTHONPATH": str(Path(__file__).parents[1]), **(environ or {})}
    with running_when_ready(
        [*command, "--without-mingle", "--without-gossip", "--hostname", hostname],
        lambda: b"ready." in log.read_bytes()[before:],
        environ=environ,
        log=log,
        what="the worker",
        timeout=30,
        patience_seconds=patience_seconds,
    ) as process:
        yield Worker(process, hostname, log)


@contextlib.contextmanager
def running_worker(app: str, *options: str, redis_url: str, folder: Path, host: str = "test") -> Iterator[Path]:
    """Run a real Celery worker as `worker_process` does; yield its log."""
    with worker_process(app, *options, redis_url=redis_url, folder=folder, name=host) as worker:
        yield worker.log


@contextlib.contextmanager
def server_process(
    environ: Mapping[str, str],
    *,
    folder: Path,
    port: int | None = None,
    patience_seconds: float = 20.0,
    open_files: int | None = None,
) -> Iterator[Server]:
    """Run the real service under gunicorn, and wait until it answers. The default is a free port.

    `open_files` is the hard limit of its open files.
    """
    bind = f"127.0.0.1:{port or free_port()}"
    command = [sys.executable, "-m", "task_status_service.cli", "serve"]
    if open_files:
        command = ["sh", "-c", f'ulimit -n {open_files} && exec "$0" "$@"', *command]
    environ = {**environ, "TASK_STATUS_BIND": bind}
    log = folder / "service.log"
    with running_when_ready(
        command,
        lambda: _answers(bind),
        environ=environ,
        log=log,
        what="the service",
        patience_seconds=patience_seconds,
    ) as process:
        yield Server(process, f"http://{bind}")


@contextlib.contextmanager
def running_service(environ: Mapping[str, str], *, folder: Path) -> Iterator[str]:
    """Run the real service as `server_process` does; yield its URL."""
    with server_process(environ, folder=folder) as server:
        yield server.url


def _answers(bind: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{bind}/livez", timeout=2):
        return True
    return False
