"""One pub/sub connection to Redis: its channels, their confirmations and the messages.

Rule: one thread reads and connects; the others only send. A subscription that could not be sent is sent after the
next connect.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import redis
from task_status_worker.record.sentinel import MasterConnection

log = logging.getLogger(__name__)

#: seconds without any reply after which a PING is sent
_IDLE_SECONDS: Final = 10.0
#: seconds between two checks whether Sentinels name another master
_CHECK_SECONDS: Final = 0.5
#: messages after which other requests continue: gevent switches only when a read waits, which it never does while
#: messages arrive faster than they are handled
_MESSAGES_PER_TURN: Final = 50
#: seconds between two attempts to connect
_RECONNECT_SECONDS: Final = 0.5
#: always subscribed, so that the connection is in pub/sub mode from its first command
_CONTROL_CHANNEL: Final = "task-status:feed"


class _Confirmation:
    """The unconfirmed channels of one waiting thread. A shared one would wake every thread at each confirmation."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        # A lock costs less than an event, which also has a condition.
        self._complete = threading.Lock()
        if missing:
            self._complete.acquire()

    def confirm(self, channel: str) -> None:
        self.missing.discard(channel)
        if not self.missing:
            self._complete.release()

    def wait(self, seconds: float) -> bool:
        return self._complete.acquire(timeout=max(0.0, seconds))


class Subscriber:
    """The subscribed channels of one Redis, over one connection that is replaced if it is lost."""

    def __init__(
        self, client: redis.Redis, channels: Callable[[], list[str]], on_message: Callable[[str | None], None]
    ) -> None:
        """Create a subscriber that connects in `run`.

        Args:
            client: its pool creates the connection.
            channels: returns the channels to subscribe to.
            on_message: called with the channel of each message, and with None after the connection was lost, because
                messages of any channel may be lost with it.
        """
        self._client = client
        self._all_channels = channels
        self._on_message = on_message
        self._sending = threading.Lock()
        self._connection: Any = None
        self._closed = threading.Event()
        #: guards `_confirmed` and `_awaited`
        self._confirming = threading.Lock()
        self._confirmed: set[str] = set()
        self._awaited: dict[str, set[_Confirmation]] = {}

    def subscribe(self, channels: list[str]) -> None:
        """Subscribe to some channels; without a connection, the next connect does that."""
        self._send("SUBSCRIBE", channels)

    def unsubscribe(self, channels: list[str]) -> None:
        """Unsubscribe from some channels."""
        with self._confirming:
            self._confirmed.difference_update(channels)
        self._send("UNSUBSCRIBE", channels)

    def _send(self, command: str, channels: list[str]) -> None:
        with self._sending:
            if self._connection is not None and channels:
                with contextlib.suppress(redis.RedisError, OSError):
                    self._connection.send_command(command, *channels, check_health=False)

    def wait_confirmed(self, channels: list[str], deadline: float) -> None:
        """Wait until Redis has confirmed some channels, or until a deadline by the monotonic clock."""
        with self._confirming:
            confirmation = _Confirmation(set(channels) - self._confirmed)
            for channel in confirmation.missing:
                self._awaited.setdefault(channel, set()).add(confirmation)
        if not confirmation.wait(deadline - time.monotonic()):
            with self._confirming:
                for channel in confirmation.missing & self._awaited.keys():
                    self._awaited[channel].discard(confirmation)
                    if not self._awaited[channel]:
                        del self._awaited[channel]

    def run(self) -> None:
        """Connect, subscribe and handle messages, until `close`.

        No error ends this loop: nothing would start it again.
        """
        was_connected = False
        while not self._closed.is_set():
            try:
                self._receive(has_missed=was_connected)
            except (redis.RedisError, OSError):
                # The next iteration connects again.
                pass
            except Exception:
                log.exception("Messages from Redis were not passed on; connecting again in %s s", _RECONNECT_SECONDS)
            was_connected = was_connected or self._connection is not None
            with self._sending:
                self._connection = None
            with self._confirming:
                self._confirmed.clear()
            self._closed.wait(_RECONNECT_SECONDS)

    def close(self) -> None:
        """Close the connection, and end `run`."""
        self._closed.set()
        with self._sending:
            if self._connection is not None:
                self._connection.disconnect()

    def _receive(self, *, has_missed: bool) -> None:
        connection: Any = self._client.connection_pool.make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", _CONTROL_CHANNEL, *self._all_channels(), check_health=False)
            with self._sending:
                self._connection = connection
            # Channels that were added after the command above was built.
            self.subscribe(self._all_channels())
            if has_missed:
                self._on_message(None)
            self._handle_messages(connection)
        finally:
            connection.disconnect()

    def _handle_messages(self, connection: Any) -> None:
        """Handle messages until the connection is closed, or a PING is not answered."""
        has_pinged = False
        handled = 0
        heard_at = time.monotonic()
        has_sentinels = isinstance(connection, MasterConnection)
        while True:
            if has_sentinels and connection.is_outdated:
                raise redis.ConnectionError("Sentinels name another master, and the old one publishes no more changes")
            try:
                message = connection.read_response(
                    disable_decoding=True,
                    timeout=_CHECK_SECONDS if has_sentinels else _IDLE_SECONDS,
                    disconnect_on_error=False,
                    push_request=True,
                )
            except redis.TimeoutError:
                if has_sentinels and time.monotonic() - heard_at < _IDLE_SECONDS:
                    continue
                heard_at = time.monotonic()
                if has_pinged:
                    raise
                has_pinged = True
                connection.send_command("PING", check_health=False)
                continue
            has_pinged, heard_at = False, time.monotonic()
            handled += 1
            if handled % _MESSAGES_PER_TURN == 0:
                time.sleep(0)
            # Newer versions of redis-py return a string for the reply to a PING.
            if isinstance(message, list):
                self._handle(message)

    def _handle(self, message: list[Any]) -> None:
        kind, channel = bytes(message[0]), bytes(message[1]).decode()
        if kind == b"message":
            self._on_message(channel)
        elif kind == b"subscribe":
            with self._confirming:
                self._confirmed.add(channel)
                for confirmation in self._awaited.pop(channel, ()):
                    confirmation.confirm(channel)
        elif kind == b"unsubscribe":
            # The subscription may have been confirmed after `unsubscribe` was called.
            with self._confirming:
                self._confirmed.discard(channel)
