"""Gathered reads on a real Redis: everyone gets their own answer, soon, whatever happens to Redis."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from support.servers import RedisServer, running_redis, wait_until
from task_status_service.store.pipelined_reader import Reader
from task_status_service.store.records import SOCKET_SECONDS, connect_to

CALLERS = 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that a test may stop, with forty keys that hold their own number."""
    with running_redis(tmp_path) as server, server.client() as client:
        client.mset({f"key-{number}": number for number in range(CALLERS)})
        yield server
        if server.process is not None:
            server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def reader(server: RedisServer) -> Iterator[Reader]:
    """Read that Redis."""
    client = connect_to(server.url, sentinel_master="")
    reader = Reader(client)
    yield reader
    reader.close()
    client.close()


def read_all(reader: Reader) -> list[Any]:
    """Read all keys at once, each twice by a caller of its own; give what each got: replies or an error."""

    def read(number: int) -> Any:
        try:
            return reader.read(("GET", f"key-{number}"), ("STRLEN", f"key-{number}"), ("GET", f"key-{number}"))
        except redis.RedisError as error:
            return error

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(read, range(CALLERS)))


def own_answers() -> list[Any]:
    """Give what each caller of `read_all` must get."""
    numbers = [str(number).encode() for number in range(CALLERS)]
    return [[number, len(number), number] for number in numbers]


def test_everyone_gets_their_own(reader: Reader) -> None:
    """Many callers, again and again: replies never go to another one, and keep their order."""
    for _ in range(50):
        assert read_all(reader) == own_answers()


def test_errors_are_given_to_whom_they_belong(server: RedisServer, reader: Reader) -> None:
    """An error that Redis replies is one reply among others."""
    with server.client() as client:
        client.rpush("list", "a")

    before, wrong, after = reader.read(("GET", "key-1"), ("GET", "list"), ("GET", "key-2"))

    assert (before, after) == (b"1", b"2")
    assert isinstance(wrong, redis.ResponseError)
    assert str(wrong).startswith("WRONGTYPE")


def test_what_waits_goes_together(server: RedisServer, reader: Reader) -> None:
    """What comes while Redis is busy goes to it in one trip."""
    reader.read(("GET", "key-1"))
    with server.client() as client, ThreadPoolExecutor(CALLERS) as pool:
        reads_before = client.info("stats")["total_reads_processed"]
        server.process.send_signal(signal.SIGSTOP)
        waiting = [pool.submit(reader.read, ("GET", f"key-{number}")) for number in range(CALLERS)]
        time.sleep(0.1)
        server.process.send_signal(signal.SIGCONT)
        assert [one.result() for one in waiting] == [[str(number).encode()] for number in range(CALLERS)]
        # Two trips, and this client's own question.
        assert client.info("stats")["total_reads_processed"] - reads_before <= 4


def test_stalled(server: RedisServer, reader: Reader) -> None:
    """Nobody waits long for a Redis that is stalled, and nobody gets what another one has given up on."""
    assert read_all(reader) == own_answers()
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(2):
        assert all(isinstance(answer, redis.RedisError) for answer in read_all(reader))
    assert time.monotonic() - began < 2 * 2
    server.process.send_signal(signal.SIGCONT)

    wait_until(lambda: read_all(reader) == own_answers(), timeout=1, what="answers again")
    assert read_all(reader) == own_answers()


def test_stalled_for_those_who_come_later(server: RedisServer, reader: Reader) -> None:
    """Whoever comes while others wait in vain learns it with them, and does not wait for as long once more."""
    reader.read(("GET", "key-1"))
    server.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reader.read, ("GET", "key-1"))
        time.sleep(SOCKET_SECONDS / 2)
        later = pool.submit(reader.read, ("GET", "key-2"))
        assert isinstance(first.exception(), redis.RedisError)
        assert isinstance(later.exception(timeout=SOCKET_SECONDS / 2), redis.RedisError)


def test_busy_process_is_not_a_silent_redis(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that came in time counts, although this process looked for it too late."""
    reader.read(("GET", "key-1"))
    connection = reader._connection._connection  # noqa: SLF001
    late = LateSocket(connection._sock)  # noqa: SLF001
    monkeypatch.setattr(connection, "_sock", late)

    assert reader.read(("GET", "key-7")) == [b"7"]
    assert late.timeouts == 1
    assert reader._connection._connection is connection  # noqa: SLF001


class LateSocket:
    """A socket whose first wait is over before anybody looks at what has come."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.timeouts = 0

    def recv(self, size: int) -> bytes:
        if not self.timeouts:
            self.timeouts += 1
            assert select.select([self._sock], [], [], 5)[0]
            raise TimeoutError
        return self._sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


def test_killed_and_started_again(server: RedisServer, reader: Reader) -> None:
    """A Redis that is gone is told at once; a second after it is back nobody notices."""
    reader.read(("GET", "key-1"))
    server.stop()
    began = time.monotonic()
    assert all(isinstance(answer, redis.RedisError) for answer in read_all(reader))
    assert time.monotonic() - began < 2
    server.start()

    assert [answer[0] for answer in read_all(reader)] == [None] * CALLERS


def test_connections_that_are_cut(server: RedisServer, reader: Reader) -> None:
    """A connection that Redis closes is replaced, and no caller learns of it."""
    with server.client() as client:
        for _ in range(20):
            client.client_kill_filter(_type="normal", skipme=True)
            assert read_all(reader) == own_answers()


def test_closed(reader: Reader) -> None:
    """After a close a read opens another connection."""
    for _ in range(2):
        assert reader.read(("GET", "key-7")) == [b"7"]
        reader.close()


GREENLETS_AND_FORK = """
from gevent import monkey; monkey.patch_all()
import gevent, os, sys
from task_status_service.reader import Reader
from task_status_service.store import SOCKET_SECONDS, connect_to

reader = Reader(connect_to(sys.argv[1], sentinel_master=""))
def read(number):
    return [reader.read(("GET", f"key-{number}")) == [str(number).encode()] for _ in range(50)]
def all_right():
    greenlets = [gevent.spawn(read, number) for number in range(40)]
    return all(all(greenlet.get()) for greenlet in greenlets)
assert all_right()
child = gevent.os.fork()
if not child:
    os._exit(0 if all_right() else 1)
assert all_right()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_greenlets_and_a_fork(server: RedisServer) -> None:
    """Under gevent everyone gets their own answer too, and after a fork each process reads for itself."""
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", GREENLETS_AND_FORK, server.url], check=True, timeout=60, env=environ)
