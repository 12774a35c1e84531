"""Connections that keep what they send to Redis: one send is one round trip."""

from typing import Any

import redis

#: data sent by all connections, in order
SENT: list[bytes] = []


class CountingConnection(redis.Connection):
    """A connection that adds each sent command to `SENT`."""

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        SENT.append(b"".join(command) if isinstance(command, list) else bytes(command))
        super().send_packed_command(command, check_health)


def counting_client(url: str) -> redis.Redis:
    """Return a client with such connections."""
    return redis.Redis(connection_pool=redis.ConnectionPool.from_url(url, connection_class=CountingConnection))
