"""What the users of docs/redis-users.md may not do. What they must do is done by acceptance/test_no_leak.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from support.redis_users import apply_users, url_of
from support.servers import RedisServer, running_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis with these users, in which another app keeps something."""
    folder: Path = tmp_path_factory.mktemp("users")
    with running_redis(folder) as server:
        with server.client() as client:
            client.set("another-app", "its secret")
        apply_users(server, "a-password")
        yield server


def forbidden(server: RedisServer, user: str, *command: str) -> bool:
    """Tell whether Redis refuses a command to a user."""
    with redis.Redis.from_url(url_of(server, user, "a-password")) as client:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            return True
        except redis.ResponseError as error:
            # Redis 6.2 and Valkey word a denial within a script differently; "not allowed" is the denial of DEBUG.
            return any(
                word in str(error) for word in ("NOPERM", "can't access", "not allowed", "ACL failure in script")
            )
        return False


@pytest.mark.parametrize("user", ["status-api", "status-send", "worker"])
@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "dir", "/"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("DEBUG", "SLEEP", "0"),
        ("ACL", "LIST"),
        ("MONITOR",),
        ("SHUTDOWN",),
        ("REPLICAOF", "evil.example", "6379"),
        ("MODULE", "LIST"),
        ("CLIENT", "LIST"),
        ("SCRIPT", "FLUSH"),
    ],
    ids=" ".join,
)
def test_no_command_for_operators(server, user, command):
    """Neither side may list, flush or change anything that is not a task's."""
    assert forbidden(server, user, *command)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        # The service reads nothing else, also in a script, and cannot send.
        ("status-api", ("GET", "another-app")),
        ("status-api", ("EVAL", "return redis.call('GET', 'another-app')", "0")),
        ("status-api", ("LPUSH", "celery", "{}")),
        ("status-api", ("SUBSCRIBE", "another-app")),
        ("status-api", ("PUBLISH", "/0.celery.pidbox", "{}")),
        # Whoever sends cannot read what was sent, nor results.
        ("status-send", ("GET", "another-app")),
        ("status-send", ("LRANGE", "celery", "0", "-1")),
        ("status-send", ("LPOP", "celery")),
        ("status-send", ("GET", "task-status:epoch")),
        ("status-send", ("SET", "celery-task-meta-a", "{}")),
        ("status-send", ("EVAL", "return 1", "0")),
        ("status-send", ("SUBSCRIBE", "/0.celery.pidbox")),
    ],
)
def test_nothing_of_others(server, user, command):
    """Each has its own keys and channels."""
    assert forbidden(server, user, *command)


def test_nobody_without_a_password(server):
    """The default user is off."""
    with server.client() as client, pytest.raises(redis.AuthenticationError):
        client.ping()
