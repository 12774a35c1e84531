"""Read Redis for all callers of a process in shared round trips.

A shared round trip costs about as much as the round trip of one caller.
Rule 1: one thread (a greenlet under gunicorn) owns one connection. It sends all waiting reads as one, and returns the
        replies in order; reads that arrive meanwhile form the next trip.
Rule 2: that thread serves no request itself: a caller that also read for others would delay them, and be delayed.
Rule 3: replies are matched to reads by count. After any error the connection is closed, so that a late reply cannot
        reach another read.
Rule 4: a failed trip is repeated once over a new connection, because Redis may have restarted: reads change nothing.
Rule 5: a caller waits at most `ANSWER_SECONDS`, whatever the thread does. An abandoned read is not sent.
"""

import logging
import os
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import hiredis
import redis
from task_status_worker.record.sentinel import MasterConnection

from task_status_service.store.errors import ReadFailed, address_of
from task_status_service.store.heartbeats import Command, Heartbeats

log = logging.getLogger(__name__)

#: limit of a read. If Redis does not answer, the timeouts of the connection end the read far earlier; this limit is for
#: a process so busy that the reading thread does not run
ANSWER_SECONDS: Final = 5.0
#: limit of the reads of one trip, so that its last reply is not late
MAX_READS: Final = 64

_RECEIVE_BYTES: Final = 65_536
_INCOMPLETE: Final = object()


class _Read:
    """The commands of one caller, and their replies."""

    __slots__ = ("answered", "count", "error", "is_abandoned", "packed", "replies")

    def __init__(self, commands: Sequence[Command]) -> None:
        # hiredis types its argument as a tuple of one.
        self.packed = b"".join([hiredis.pack_command(command) for command in commands])  # type: ignore[arg-type]
        self.count = len(commands)
        self.replies: list[Any] | None = None
        self.error: Exception | None = None
        self.is_abandoned = False
        # A lock costs less than an event, which also has a condition.
        self.answered = threading.Lock()
        self.answered.acquire()

    @property
    def is_waited_for(self) -> bool:
        return self.replies is None and not self.is_abandoned

    def take(self, replies: list[Any]) -> None:
        self.replies = replies
        self.answered.release()


class _HeartbeatRead(_Read):
    """The commands of the heartbeats, sent at the head of a trip."""

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


def connected_socket(connection: Any) -> Any:
    """Return the socket of a connection of redis-py.

    The attribute is private: redis-py has no public way to receive more than one reply at a time.
    """
    return connection._sock  # noqa: SLF001


class Reader:
    """The concurrent reads of one process. It opens no connection before the first read."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        heartbeats: Heartbeats | None = None,
        socket_of: Callable[[Any], Any] = connected_socket,
    ) -> None:
        """Create a reader that connects with its first read.

        Args:
            client: its pool makes the connection, by TCP, TLS, Unix socket or Sentinel.
            heartbeats: their commands are sent with the trips of other reads.
            socket_of: returns the socket of a connection of redis-py.
        """
        self._heartbeats = heartbeats
        self._pool = client.connection_pool
        self._socket_of = socket_of
        self._connection = _Connection(self._pool, socket_of)
        self._waiting: deque[_Read] = deque()
        self._bell = threading.Event()
        #: the process in which the thread runs; a fork does not copy it
        self._process_id = 0
        self._starting = threading.Lock()

    def read(self, *commands: Command) -> list[Any]:
        """Return the replies to the commands of one caller, in order.

        An error among the replies of Redis is returned, not raised. The commands may be sent twice.

        Raises:
            redis.RedisError: Redis did not answer within two timeouts of the connection.
        """
        return self.read_all([commands])[0]

    def read_all(self, calls: Sequence[Sequence[Command]]) -> list[list[Any]]:
        """Return the replies to several reads of one caller; reads of other callers may be sent in between.

        Raises:
            redis.RedisError: Redis did not answer.
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
        except redis.RedisError as error:
            for read in reads:
                read.is_abandoned = True
            raise ReadFailed(str(error), address=address_of(self._pool)) from error

    def close(self) -> None:
        """Close the connection; the next read opens another one."""
        self._connection.close()

    def _start(self) -> None:
        with self._starting:
            if self._process_id != os.getpid():
                self._process_id = os.getpid()
                # A connection that a fork has copied belongs to the other process.
                self._connection = _Connection(self._pool, self._socket_of)
                threading.Thread(target=self._run, name="redis reader", daemon=True).start()

    def _run(self) -> None:
        try:
            self._answer_all()
        finally:
            # Reached only if the thread ends, such as a killed greenlet: the next read starts another thread.
            self._process_id = 0

    def _answer_all(self) -> None:
        while True:
            self._bell.wait()
            # Cleared before the queue is emptied: a later read sets it again.
            self._bell.clear()
            while reads := self._gathered():
                try:
                    self._answer(reads)
                except Exception as error:
                    log.exception("Reads from Redis failed; their callers get an error, and reading continues")
                    self._connection.close()
                    self._fail(reads, error)

    def _gathered(self) -> list[_Read]:
        reads: list[_Read] = []
        while self._waiting and len(reads) < MAX_READS:
            read = self._waiting.popleft()
            if read.is_waited_for:
                reads.append(read)
        return reads

    def _answer(self, reads: list[_Read]) -> None:
        if self._heartbeats is not None and (asked := self._heartbeats.commands()):
            # First, so that the heartbeats are current before the reads are answered.
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
                break
        if self._heartbeats is not None and self._heartbeats.is_replica:
            # A demoted master. The host name may lead to the new one, so the next trip connects again.
            self._connection.close()

    def _fail(self, reads: list[_Read], error: Exception) -> None:
        """Fail the unanswered reads, and those that arrived meanwhile: they would fail too, only later."""
        while self._waiting:
            reads.append(self._waiting.popleft())
        for read in reads:
            if read.replies is None and read.error is None:
                read.error = error
                read.answered.release()


class _Connection:
    """A connection of redis-py. It connects and logs in; commands and replies bypass its slower layers."""

    def __init__(self, pool: redis.ConnectionPool, socket_of: Callable[[Any], Any]) -> None:
        self._pool = pool
        self._socket_of = socket_of
        self._connection: Any = None
        self._parser: Any = None

    def exchange(self, reads: Sequence[_Read]) -> None:
        """Send all reads as one, and pass each its replies as soon as they arrive."""
        if isinstance(self._connection, MasterConnection) and self._connection.is_outdated:
            # After a failover the old master still answers, with values that are lost.
            self.close()
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
        sock = self._socket_of(self._connection)
        try:
            received = sock.recv(_RECEIVE_BYTES)
        except TimeoutError:
            received = _received_meanwhile(sock)
        if not received:
            raise redis.ConnectionError("Redis has closed the connection")
        self._parser.feed(received)

    def close(self) -> None:
        """Close the connection; pending replies are lost."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._pool.release(connection)


def _received_meanwhile(sock: Any) -> bytes:
    """Return bytes that arrived in time and are read late by a busy process; otherwise raise `TimeoutError`."""
    seconds = sock.gettimeout()
    sock.settimeout(0)
    try:
        return bytes(sock.recv(_RECEIVE_BYTES))
    except (BlockingIOError, ssl.SSLWantReadError):
        raise TimeoutError from None
    finally:
        sock.settimeout(seconds)
