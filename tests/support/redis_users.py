"""A Redis with the users of docs/redis-users.md, for tests that run as these users."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Final

from task_status_service.store.redis_users import API, SEND, WORKER, acl_lines, redis_users

from support.servers import RedisServer

#: the password of all users
PASSWORD: Final = "a-password"
_ADMIN: Final = "admin"


def server_with_users(
    folder: Path,
    *,
    queues: Collection[str],
    prefix: str = "",
    password: str = PASSWORD,
    durable: bool = False,
    replicated: bool = False,
) -> RedisServer:
    """Return a Redis server with these users, all with the same password, and an administrator for the test."""
    users = redis_users(queues=queues, prefix=prefix, replicated=replicated)
    lines = [
        *acl_lines(users, {user.name: password for user in users}, hashed=True),
        f"user {_ADMIN} on >{password} ~* &* +@all",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "users.acl"
    file.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    return RedisServer(folder, durable=durable, users=file, admin=f"{_ADMIN}:{password}")


@contextlib.contextmanager
def running_redis_with_users(
    folder: Path, *, queues: Collection[str], prefix: str = "", password: str = PASSWORD, durable: bool = False
) -> Iterator[RedisServer]:
    """Run such a server within a `with` block."""
    server = server_with_users(folder, queues=queues, prefix=prefix, password=password, durable=durable)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def url_of(server: RedisServer, user: str, password: str = PASSWORD) -> str:
    """Return the Redis URL for a user."""
    return server.url_as(f"{user}:{password}")


def worker_url(server: RedisServer, password: str = PASSWORD) -> str:
    """Return the Redis URL of the workers."""
    return url_of(server, WORKER, password)


def service_environ(server: RedisServer, password: str = PASSWORD) -> Mapping[str, str]:
    """Return the settings of a service that runs as these users."""
    return {
        "TASK_STATUS_REDIS_URL": url_of(server, API, password),
        "TASK_STATUS_BROKER_URL": url_of(server, SEND, password),
    }
