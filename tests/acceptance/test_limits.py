"""Limits of the real server: open files, task tokens, and the limits that two processes share."""

import contextlib
import http.client
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from support.keys import add_key, bearer
from support.servers import RedisServer, Server, running_when_ready, server_process, wait_until
from task_status_service.api.auth.rate_limits import FAILURES

#: seconds within which an accepted connection is answered
SECONDS = 3.0
#: seconds within which a request is answered on a busy machine
PATIENCE_SECONDS = 20.0
OPEN_FILES = 256


def connected(url: str) -> socket.socket:
    """Open a connection to the server."""
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=SECONDS)


def test_more_connections_than_open_files(real_redis: RedisServer, tmp_path: Path) -> None:
    """With too few open files, the server warns once, leaves further connections in the backlog, and recovers."""
    environ = {"TASK_STATUS_REDIS_URL": real_redis.url}
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_process(environ, folder=tmp_path, open_files=OPEN_FILES))
        accepted = http.client.HTTPConnection("127.0.0.1", urlsplit(server.url).port or 0, timeout=SECONDS)
        stack.callback(accepted.close)

        def status() -> int:
            accepted.request("GET", "/tasks/unknown")
            with accepted.getresponse() as response:
                response.read()
                return response.status

        assert status() == 404
        idle = [stack.enter_context(connected(server.url)) for _ in range(2 * OPEN_FILES)]
        assert [status() for _ in range(20)] == [404] * 20
        for connection in idle:
            connection.close()
        wait_until(lambda: requests.get(f"{server.url}/livez", timeout=PATIENCE_SECONDS).ok, what="a new connection")

        log = (tmp_path / "service.log").read_text()
        assert log.count("The limit of open files is 256, and each process of this server needs 12,256.") == 1
        assert "Traceback" not in log
        assert "Too many open files" not in log


def use(connection: socket.socket | None, url: str) -> socket.socket | None:
    """Send a request over a connection, which is opened if it is None; return None if the server has closed it."""
    try:
        if connection is None:
            connection = connected(url)
            connection.setblocking(False)
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        if connection.recv(65_536) != b"":
            return connection
    except BlockingIOError:
        return connection
    except OSError:
        pass
    if connection is not None:
        connection.close()
    return None


def test_strangers_cannot_keep_all_connections(real_redis: RedisServer, tmp_path: Path) -> None:
    """A client without a key that uses all connections again and again leaves room for a new connection."""
    with server_process({"TASK_STATUS_REDIS_URL": real_redis.url}, folder=tmp_path, open_files=OPEN_FILES) as server:
        is_over, rounds = threading.Event(), [0]

        def keep_connections() -> None:
            connections: list[socket.socket | None] = [None] * OPEN_FILES
            # Often enough to keep each connection alive, and rarely enough that the server is not busy.
            while not is_over.wait(1):
                connections = [use(connection, server.url) for connection in connections]
                rounds[0] += 1
            for connection in connections:
                if connection is not None:
                    connection.close()

        stranger = threading.Thread(target=keep_connections)
        stranger.start()
        try:
            wait_until(lambda: rounds[0] > 3, timeout=60, what="all connections to be in use")
            assert requests.get(f"{server.url}/livez", timeout=PATIENCE_SECONDS).ok
        finally:
            is_over.set()
            stranger.join()


class Keyed:
    """A server with one key, and a task that this key has submitted."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key
        # No worker reads this queue, so that the task does not end.
        submission = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}, "queue": "unread-queue"}
        answer = requests.post(f"{server.url}/tasks", json=submission, headers=bearer(key), timeout=PATIENCE_SECONDS)
        assert answer.status_code == 202, answer.text
        self.task_url = f"{server.url}/tasks/{answer.json()['id']}"

    def token(self) -> str:
        """Create a token for the task."""
        answer = requests.post(f"{self.task_url}/tokens", headers=bearer(self.key), timeout=PATIENCE_SECONDS)
        return str(answer.json()["token"])

    def stream(self, credential: str) -> requests.Response:
        """Open an event stream."""
        return requests.get(
            f"{self.task_url}/events", headers=bearer(credential), timeout=PATIENCE_SECONDS, stream=True
        )

    def statuses(self, credential: str, count: int) -> list[int]:
        """Read the task some times, each time over a new connection; return the statuses."""
        return [
            requests.get(self.task_url, headers=bearer(credential), timeout=PATIENCE_SECONDS).status_code
            for _ in range(count)
        ]


@contextlib.contextmanager
def keyed(redis: RedisServer, folder: Path, **settings: object) -> Iterator[Keyed]:
    """Run a server with a key."""
    keys_file = folder / "keys.json"
    key = add_key(keys_file, "web")
    environ = {
        "TASK_STATUS_REDIS_URL": redis.url,
        "TASK_STATUS_API_KEYS_FILE": str(keys_file),
        "TASK_STATUS_TASKS": "demo.*",
        "TASK_STATUS_QUEUES": "unread-queue",
        **{f"TASK_STATUS_{name.upper()}": str(value) for name, value in settings.items()},
    }
    with server_process(environ, folder=folder) as server:
        yield Keyed(server, key)


def test_a_token_leaves_the_limits_of_its_owner(real_redis: RedisServer, tmp_path: Path) -> None:
    """One token at full speed and with many streams: all requests, a stream and a wait of its owner succeed."""
    with keyed(real_redis, tmp_path, requests_per_second=20) as site, contextlib.ExitStack() as stack:
        token = site.token()
        streams = [stack.enter_context(site.stream(token)) for _ in range(10)]
        assert [stream.status_code for stream in streams] == [200] * 4 + [429] * 6

        assert site.statuses(token, 100).count(429) > 0
        assert site.statuses(site.key, 100) == [200] * 100

        assert stack.enter_context(site.stream(site.key)).status_code == 200
        begun = time.monotonic()
        answer = requests.get(f"{site.task_url}?wait=1", headers=bearer(site.key), timeout=10)
        assert answer.status_code == 200
        assert time.monotonic() - begun >= 1


class UnixConnection(http.client.HTTPConnection):
    """A connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE_SECONDS)
        self.sock.connect(str(self._path))


def test_a_proxy_behind_a_unix_socket_reports_clients(real_redis: RedisServer, tmp_path: Path) -> None:
    """The proxy of a trusted Unix socket reports the address for which failed authentications are counted."""
    path = tmp_path / "api.sock"
    add_key(tmp_path / "keys.json", "web")
    environ = {
        "TASK_STATUS_REDIS_URL": real_redis.url,
        "TASK_STATUS_API_KEYS_FILE": str(tmp_path / "keys.json"),
        "TASK_STATUS_TRUSTED_PROXIES": "unix",
        "TASK_STATUS_BIND": f"unix:{path}",
    }

    def status(client: str, where: str = "/tasks/t-1") -> int:
        with contextlib.closing(UnixConnection(path)) as connection:
            connection.request("GET", where, headers={"X-Forwarded-For": f"198.51.100.1, {client}"})
            return connection.getresponse().status

    def is_ready() -> bool:
        with contextlib.suppress(OSError):
            return status("", "/livez") == 200
        return False

    command = [sys.executable, "-m", "task_status_service.cli", "serve"]
    log = tmp_path / "service.log"
    with running_when_ready(command, is_ready, environ=environ, log=log, what="the socket"):
        codes = [status("192.0.2.1") for _ in range(2 * FAILURES)]
        assert 429 in codes
        assert status("192.0.2.2") == 401


def workers_of(server: Server) -> list[int]:
    """Return the ids of the worker processes of a server."""
    pid = server.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process, so that another one answers."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the processes of a server are read from /proc")
def test_two_processes_share_the_limits(real_redis: RedisServer, tmp_path: Path) -> None:
    """Requests and streams with one key are limited in both processes together; those of a killed process end."""
    with (
        keyed(real_redis, tmp_path, workers=2, requests_per_second=1, watches_per_caller=1) as site,
        contextlib.ExitStack() as stack,
    ):
        wait_until(lambda: len(workers_of(site.server)) == 2, what="two processes")
        first, second = workers_of(site.server)
        begun = time.monotonic()
        with stopped(second):
            stream = stack.enter_context(site.stream(site.key))
            of_first = site.statuses(site.key, 20)
        with stopped(first):
            of_second = site.statuses(site.key, 20)
        passed = (of_first + of_second).count(200)
        # Two were used by the submission and the stream; one more is allowed each second.
        assert 8 <= passed <= 8 + time.monotonic() - begun + 2

        def opened() -> requests.Response:
            """Open a stream as soon as the rate permits it."""
            found: list[requests.Response] = []

            def is_within_the_rate() -> bool:
                found[:] = [stack.enter_context(site.stream(site.key))]
                return found[0].ok or "Too many requests with" not in found[0].text

            wait_until(is_within_the_rate, what="a request within the rate", pause=0.2)
            return found[0]

        assert stream.status_code == 200
        with stopped(first):
            assert "concurrent waits and event streams with the keys" in opened().json()["detail"]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: opened().status_code == 200, what="the place of the killed process")
