"""Read Redis for every caller of a process in shared round trips: one trip costs about what one caller's would.

Rule 1: one thread (a greenlet under gunicorn) owns one connection. It sends all reads that wait as one, and hands out
        the replies in order; while it waits for Redis, the next reads gather.
Rule 2: never a caller's own thread: a caller that reads for the others starves them, and is starved.
Rule 3: replies are handed to the read that asked for them, by count. After any error the connection is closed, so a
        late reply finds nobody.
Rule 4: a trip that fails is made once more over a new connection, for a Redis that has restarted: reads change nothing.
Rule 5: a caller waits `ANSWER_SECONDS` and no longer, whatever the thread does. What nobody waits for is not sent.
"""

import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import hiredis
import redis

from task_status_service.store.heartbeats import Command, Heartbeats

#: how long a read waits at most. The connection's own timeouts end it far earlier where Redis does not answer; this is
#: for a process that has so much to do that nobody gets a turn
ANSWER_SECONDS: Final = 5.0
#: reads of one trip: so many that a trip is cheap, so few that its last reply is not late
MAX_READS: Final = 64

_RECEIVE_BYTES: Final = 65_536
_INCOMPLETE: Final = object()


class _Read:
    """What one caller waits for."""

    __slots__ = ("answered", "count", "error", "is_abandoned", "packed", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        # hiredis types its argument as a tuple of one.
        self.packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        self.count = len(commands)
        self.replies: list[Any] | None = None
        self.error: Exception | None = None
        self.is_abandoned = False
        # A bare lock: an event is one and a condition more.
        self.answered = threading.Lock()
        self.answered.acquire()

    @property
    def is_waited_for(self) -> bool:
        return self.replies is None and not self.is_abandoned

    def take(self, replies: list[Any]) -> None:
        self.replies = replies
        self.answered.release()


class _HeartbeatRead(_Read):
    """What the heartbeats asks for."""

    __slots__ = ("_heartbeats",)

    def __init__(self, commands: Sequence[Command], heartbeats: Heartbeats) -> None:
        super().__init__(commands)
        self._heartbeats = heartbeats

    def take(self, replies: list[Any]) -> None:
        super().take(replies)
        self._heartbeats.update(replies)


def _replies_to(read: _Read, seconds: float) -> list[Any]:
    if not read.answered.acquire(timeout=max(0.0, seconds)):
        raise redis.TimeoutError("Redis does not answer")
    if read.replies is None:
        raise redis.ConnectionError(str(read.error)) from read.error
    return read.replies


class Reader:
    """Gather the concurrent reads of one process. Opens nothing until it is used."""

    def __init__(self, client: redis.Redis, *, heartbeats: Heartbeats | None = None) -> None:
        """Take the client from whose pool the one connection comes: by TCP, TLS, Unix socket or Sentinel.

        `heartbeats` rides on its trips.
        """
        self._heartbeats = heartbeats
        self._pool = client.connection_pool
        self._connection = _Connection(self._pool)
        self._waiting: deque[_Read] = deque()
        self._bell = threading.Event()
        #: the process in which the thread runs; a fork does not copy it
        self._process_id = 0
        self._starting = threading.Lock()

    def read(self, *commands: Command) -> list[Any]:
        """Give the replies to one caller's commands, in order; an error that Redis replies is given, not raised.

        The commands may be sent twice.

        Raises:
            redis.RedisError: no answer, within two of the connection's timeouts.
        """
        return self.read_all([commands])[0]

    def read_all(self, calls: Sequence[Sequence[Command]]) -> list[list[Any]]:
        """Give the replies to several reads of one caller, which go together and leave room for others in between.

        Raises:
            redis.RedisError: no answer.
        """
        reads = [_Read(commands) for commands in calls]
        self._waiting.extend(reads)
        self._bell.set()
        # Not `is_alive`, which under gevent lets every other greenlet run first.
        if self._process_id != os.getpid():
            self._start()
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            return [_replies_to(read, deadline - time.monotonic()) for read in reads]
        except redis.RedisError:
            for read in reads:
                read.is_abandoned = True
            raise

    def close(self) -> None:
        """Close the connection; a read after this opens another."""
        self._connection.close()

    def _start(self) -> None:
        with self._starting:
            if self._process_id != os.getpid():
                self._process_id = os.getpid()
                # One that a fork has copied belongs to the other process.
                self._connection = _Connection(self._pool)
                threading.Thread(target=self._run, name="redis reader", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer_all()
        finally:
            # Only an error of our own gets here: whoever reads next starts another.
            self._process_id = 0

    def _answer_all(self) -> None:
        while True:
            self._bell.wait()
            # Before looking: what comes after this rings again.
            self._bell.clear()
            while reads := self._gathered():
                self._answer(reads)

    def _gathered(self) -> list[_Read]:
        reads: list[_Read] = []
        while self._waiting and len(reads) < MAX_READS:
            read = self._waiting.popleft()
            if read.is_waited_for:
                reads.append(read)
        return reads

    def _answer(self, reads: list[_Read]) -> None:
        if self._heartbeats is not None and (asked := self._heartbeats.commands()):
            # First, so that it is heard before the reads are answered.
            reads = [_HeartbeatRead(asked, self._heartbeats), *reads]
        for is_last in (False, True):
            try:
                self._connection.exchange(reads)
            except (redis.RedisError, OSError, hiredis.HiredisError) as error:
                self._connection.close()
                reads = [read for read in reads if read.is_waited_for]
                if is_last:
                    self._fail(reads, error)
            else:
                return

    def _fail(self, reads: list[_Read], error: Exception) -> None:
        """Tell all who wait: also those who came since, for they would only find out the same, later."""
        while self._waiting:
            reads.append(self._waiting.popleft())
        for read in reads:
            read.error = error
            read.answered.release()


class _Connection:
    """One connection of redis-py, which knows how to connect and log in; sent and parsed here without its layers."""

    def __init__(self, pool: redis.ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None
        self._parser: Any = None

    def exchange(self, reads: Sequence[_Read]) -> None:
        """Send all reads in one go and hand each its replies as soon as they are there."""
        if self._connection is None:
            self._connection = self._pool.get_connection()
            self._parser = hiredis.Reader(replyError=redis.ResponseError, notEnoughData=_INCOMPLETE)
        self._connection.send_packed_command([b"".join([read.packed for read in reads])], check_health=False)
        for read in reads:
            read.take([self._reply() for _ in range(read.count)])

    def _reply(self) -> Any:
        while True:
            reply = self._parser.gets()
            if reply is _INCOMPLETE:
                self._receive()
            elif not isinstance(reply, hiredis.PushNotification):
                return reply

    def _receive(self) -> None:
        sock = self._connection._sock  # noqa: SLF001  # redis-py reads one reply at a time
        try:
            received = sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            received = _received_meanwhile(sock)
        if not received:
            raise redis.ConnectionError("Redis has closed the connection")
        self._parser.feed(received)

    def close(self) -> None:
        """Drop the connection, and whatever was still to come on it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)


def _received_meanwhile(sock: Any) -> bytes:
    """Give what has come although the time is over: a busy process looks late. `TimeoutError` if nothing has."""
    seconds = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bytes(sock.recv(_RECEIVE_BYTES))
    except (BlockingIOError, ssl.SSLWantReadError):
        raise TimeoutError from None
    finally:
        sock.settimeout(seconds)
