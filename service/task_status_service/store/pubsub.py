"""One pub/sub connection to Redis: which channels it listens on, whether Redis has confirmed that, and what is heard.

Rule: one thread reads and connects; the others only send, and what they could not send is subscribed on reconnecting.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import redis

#: after so long without a word the connection is asked for one
_SILENT_SECONDS: Final = 10.0
#: between two attempts to connect
_RECONNECT_SECONDS: Final = 0.5
#: subscribed for as long as the feed runs, so that the connection is one for pub/sub from its first command
_CONTROL_CHANNEL: Final = "task-status:feed"


class _Confirmation:
    """Wait for some channels to be confirmed. One for each who waits: else each confirmation would wake all of them."""

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        # A bare lock: an event is one and a condition more.
        self._complete = threading.Lock()
        if missing:
            self._complete.acquire()

    def confirm(self, channel: str) -> None:
        self.missing.discard(channel)
        if not self.missing:
            self._complete.release()

    def wait(self, seconds: float) -> bool:
        return self._complete.acquire(timeout=max(0.0, seconds))


class Listener:
    """Listen on channels, over one connection that is made again whenever it is lost."""

    def __init__(
        self, client: redis.Redis, channels: Callable[[], list[str]], on_message: Callable[[str | None], None]
    ) -> None:
        """Take what tells the channels to listen on, and what is told the channel of a message.

        None instead of one: the connection was lost, and so may be messages of any channel.
        """
        self._client = client
        self._all_channels = channels
        self._on_message = on_message
        self._sending = threading.Lock()
        self._connection: Any = None
        self._closed = threading.Event()
        #: guards the next two
        self._confirming = threading.Lock()
        self._confirmed: set[str] = set()
        self._awaited: dict[str, set[_Confirmation]] = {}

    def subscribe(self, channels: list[str]) -> None:
        """Ask for some channels; what cannot be asked now is asked for on reconnecting."""
        self._send("SUBSCRIBE", channels)

    def unsubscribe(self, channels: list[str]) -> None:
        """Ask for some channels no more."""
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
        """Connect, subscribe to what is watched, and pass messages on; again whenever the connection is lost."""
        has_listened = False
        while not self._closed.is_set():
            with contextlib.suppress(redis.RedisError, OSError):
                self._listen(has_missed=has_listened)
            has_listened = has_listened or self._connection is not None
            with self._sending:
                self._connection = None
            with self._confirming:
                self._confirmed.clear()
            self._closed.wait(_RECONNECT_SECONDS)

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        with self._sending:
            if self._connection is not None:
                self._connection.disconnect()

    def _listen(self, *, has_missed: bool) -> None:
        connection: Any = self._client.connection_pool.make_connection()
        try:
            connection.connect()
            connection.send_command("SUBSCRIBE", _CONTROL_CHANNEL, *self._all_channels(), check_health=False)
            with self._sending:
                self._connection = connection
            # What was asked for in between.
            self.subscribe(self._all_channels())
            if has_missed:
                self._on_message(None)
            self._pass_on(connection)
        finally:
            connection.disconnect()

    def _pass_on(self, connection: Any) -> None:
        """Pass messages on until the connection is lost: closed, or silent also when it is asked."""
        asked = False
        while True:
            try:
                message = connection.read_response(
                    disable_decoding=True, timeout=_SILENT_SECONDS, disconnect_on_error=False, push_request=True
                )
            except redis.TimeoutError:
                if asked:
                    raise
                asked = True
                connection.send_command("PING", check_health=False)
                continue
            asked = False
            # The answer to a PING is a bare text to newer clients.
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
            # It may have been confirmed after it was asked for no more.
            with self._confirming:
                self._confirmed.discard(channel)
