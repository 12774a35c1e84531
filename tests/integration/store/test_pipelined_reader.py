"""Shared reads on a real Redis: each caller receives its own replies, also while Redis stalls or restarts."""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from support.servers import RedisServer, running_redis, wait_until
from task_status_service.store.heartbeats import Command, Heartbeats
from task_status_service.store.pipelined_reader import Reader, connected_socket
from task_status_service.store.records import SOCKET_SECONDS, connect_to
from task_status_worker.record.keys import Keys

CALLERS = 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop, with forty keys that contain their own numbers."""
    with running_redis(tmp_path) as server, server.client() as client:
        client.mset({f"key-{number}": number for number in range(CALLERS)})
        yield server
        if server.process is not None:
            server.process.send_signal(signal.SIGCONT)


@pytest.fixture
def reader(server: RedisServer) -> Iterator[Reader]:
    """A reader of that Redis."""
    client = connect_to(server.url, sentinel_master="")
    reader = Reader(client)
    yield reader
    reader.close()
    client.close()


def read_all(reader: Reader) -> list[Any]:
    """Read all keys at once, one caller per key; return the replies, or the error, of each caller."""

    def read(number: int) -> Any:
        try:
            return reader.read(("GET", f"key-{number}"), ("STRLEN", f"key-{number}"), ("GET", f"key-{number}"))
        except redis.RedisError as error:
            return error

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(read, range(CALLERS)))


def own_answers() -> list[Any]:
    """Return the replies that each caller of `read_all` must receive."""
    numbers = [str(number).encode() for number in range(CALLERS)]
    return [[number, len(number), number] for number in numbers]


def test_each_caller_gets_its_own_replies(reader: Reader) -> None:
    """Concurrent callers receive their own replies, in order."""
    for _ in range(50):
        assert read_all(reader) == own_answers()


def test_returns_an_error_reply_in_its_place(server: RedisServer, reader: Reader) -> None:
    """An error reply is returned in its place among the other replies."""
    with server.client() as client:
        client.rpush("list", "a")

    before, wrong, after = reader.read(("GET", "key-1"), ("GET", "list"), ("GET", "key-2"))

    assert (before, after) == (b"1", b"2")
    assert isinstance(wrong, redis.ResponseError)
    assert str(wrong).startswith("WRONGTYPE")


def test_sends_waiting_reads_in_one_round_trip(server: RedisServer, reader: Reader) -> None:
    """Reads that arrive while Redis is busy are sent in one round trip."""
    reader.read(("GET", "key-1"))
    with server.client() as client, ThreadPoolExecutor(CALLERS) as pool:
        reads_before = client.info("stats")["total_reads_processed"]
        server.process.send_signal(signal.SIGSTOP)
        waiting = [pool.submit(reader.read, ("GET", f"key-{number}")) for number in range(CALLERS)]
        time.sleep(0.1)
        server.process.send_signal(signal.SIGCONT)
        assert [one.result() for one in waiting] == [[str(number).encode()] for number in range(CALLERS)]
        # Two round trips, and the INFO command of this test.
        assert client.info("stats")["total_reads_processed"] - reads_before <= 4


def test_a_stalled_redis_fails_reads_soon(server: RedisServer, reader: Reader) -> None:
    """Reads of a stalled Redis fail within seconds, and their late replies reach no other read."""
    assert read_all(reader) == own_answers()
    server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(2):
        assert all(isinstance(answer, redis.RedisError) for answer in read_all(reader))
    assert time.monotonic() - began < 2 * 2
    server.process.send_signal(signal.SIGCONT)

    wait_until(lambda: read_all(reader) == own_answers(), timeout=1, what="answers again")
    assert read_all(reader) == own_answers()


def test_a_later_read_fails_with_the_waiting_ones(server: RedisServer, reader: Reader) -> None:
    """A read that arrives while others wait for a stalled Redis fails when they time out."""
    reader.read(("GET", "key-1"))
    server.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(reader.read, ("GET", "key-1"))
        time.sleep(SOCKET_SECONDS / 2)
        later = pool.submit(reader.read, ("GET", "key-2"))
        assert isinstance(first.exception(), redis.RedisError)
        assert isinstance(later.exception(timeout=SOCKET_SECONDS / 2), redis.RedisError)


def test_accepts_a_reply_that_a_busy_process_reads_late(server: RedisServer) -> None:
    """A reply that arrived in time is returned, although this process read it after the timeout."""
    late = LateSocket()
    connections = set()

    def socket_of(connection: Any) -> LateSocket:
        connections.add(connection)
        late.sock = connected_socket(connection)
        return late

    client = connect_to(server.url, sentinel_master="")
    reader = Reader(client, socket_of=socket_of)

    assert reader.read(("GET", "key-7")) == [b"7"]
    assert late.timeouts == 1
    assert len(connections) == 1
    reader.close()
    client.close()


class LateSocket:
    """A socket whose first wait times out although a reply has arrived."""

    def __init__(self) -> None:
        self.sock: Any = None
        self.timeouts = 0

    def recv(self, size: int) -> bytes:
        if not self.timeouts:
            self.timeouts += 1
            assert select.select([self.sock], [], [], 5)[0]
            raise TimeoutError
        return self.sock.recv(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


def test_redis_py_still_has_the_private_socket_attribute(server: RedisServer) -> None:
    """The reader uses a private attribute of redis-py; if this fails, adapt `connected_socket` to the new version."""
    client = connect_to(server.url, sentinel_master="")
    connection = client.connection_pool.get_connection()

    found = connected_socket(connection)

    assert isinstance(found, socket.socket), f"redis-py {redis.__version__} has renamed `Connection._sock`"
    assert found.getpeername()
    client.connection_pool.release(connection)
    client.close()


class BrokenHeartbeats(Heartbeats):
    """Heartbeats that raise an unforeseen error, `failures` times."""

    failures = 0

    def commands(self, *, at_once: bool = False) -> Sequence[Command]:
        if self.failures:
            self.failures -= 1
            raise ValueError("unforeseen")
        return super().commands(at_once=at_once)


def test_an_unforeseen_error_is_logged_and_reading_continues(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An error in the reading thread fails the waiting reads at once, is logged, and does not end the thread."""
    client = connect_to(server.url, sentinel_master="")
    heartbeats = BrokenHeartbeats(Keys())
    reader = Reader(client, heartbeats=heartbeats)
    assert reader.read(("GET", "key-1")) == [b"1"]
    threads = {thread.ident for thread in threading.enumerate()}
    heartbeats.failures = 1
    began = time.monotonic()

    with pytest.raises(redis.RedisError, match="unforeseen"):
        reader.read(("GET", "key-2"))

    assert time.monotonic() - began < 1
    [record] = [record for record in caplog.records if record.exc_info]
    assert "Reads from Redis failed" in record.getMessage()
    assert reader.read(("GET", "key-3")) == [b"3"]
    assert {thread.ident for thread in threading.enumerate()} == threads
    reader.close()
    client.close()


def test_reads_again_after_a_restart(server: RedisServer, reader: Reader) -> None:
    """Reads of a stopped Redis fail at once; after its restart they succeed."""
    reader.read(("GET", "key-1"))
    server.stop()
    began = time.monotonic()
    assert all(isinstance(answer, redis.RedisError) for answer in read_all(reader))
    assert time.monotonic() - began < 2
    server.start()

    assert [answer[0] for answer in read_all(reader)] == [None] * CALLERS


def test_replaces_a_cut_connection(server: RedisServer, reader: Reader) -> None:
    """A connection that Redis closes is replaced without an error for any caller."""
    with server.client() as client:
        for _ in range(20):
            client.client_kill_filter(_type="normal", skipme=True)
            assert read_all(reader) == own_answers()


def test_reads_again_after_a_close(reader: Reader) -> None:
    """A read after `close` opens another connection."""
    for _ in range(2):
        assert reader.read(("GET", "key-7")) == [b"7"]
        reader.close()


GREENLETS_AND_FORK = """
from gevent import monkey; monkey.patch_all()
import gevent, os, sys
from task_status_service.store.pipelined_reader import Reader
from task_status_service.store.records import connect_to

reader = Reader(connect_to(sys.argv[1], sentinel_master=""))
def read(number):
    return [reader.read(("GET", f"key-{number}")) == [str(number).encode()] for _ in range(50)]
def all_correct():
    greenlets = [gevent.spawn(read, number) for number in range(40)]
    return all(all(greenlet.get()) for greenlet in greenlets)
assert all_correct()
child = gevent.os.fork()
if not child:
    os._exit(0 if all_correct() else 1)
assert all_correct()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_works_with_greenlets_and_after_a_fork(server: RedisServer) -> None:
    """Under gevent each caller receives its own reply, and after a fork each process has its own connection."""
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", GREENLETS_AND_FORK, server.url], check=True, timeout=60, env=environ)
