"""The denials of the users in docs/redis-users.md; acceptance/test_no_leak.py runs their permitted commands."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from support.redis_users import apply_users, url_of
from support.servers import RedisServer, running_redis


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with these users, and with a key of another app."""
    folder: Path = tmp_path_factory.mktemp("users")
    with running_redis(folder) as server:
        with server.client() as client:
            client.set("another-app", "its secret")
        apply_users(server, "a-password")
        yield server


def forbidden(server: RedisServer, user: str, *command: str) -> bool:
    """Return whether Redis denies a command to a user."""
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
def test_operator_commands_are_denied(server, user, command):
    """No user may list keys, flush a database or administrate the server."""
    assert forbidden(server, user, *command)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        # The service may not read keys of other apps, also in a script, and may not send messages.
        ("status-api", ("GET", "another-app")),
        ("status-api", ("EVAL", "return redis.call('GET', 'another-app')", "0")),
        ("status-api", ("LPUSH", "celery", "{}")),
        ("status-api", ("SUBSCRIBE", "another-app")),
        ("status-api", ("PUBLISH", "/0.celery.pidbox", "{}")),
        # The sender may not read messages or results.
        ("status-send", ("GET", "another-app")),
        ("status-send", ("LRANGE", "celery", "0", "-1")),
        ("status-send", ("LPOP", "celery")),
        ("status-send", ("GET", "task-status:epoch")),
        ("status-send", ("SET", "celery-task-meta-a", "{}")),
        ("status-send", ("EVAL", "return 1", "0")),
        ("status-send", ("SUBSCRIBE", "/0.celery.pidbox")),
    ],
)
def test_keys_and_channels_of_others_are_denied(server, user, command):
    """Each user may use only its own keys and channels."""
    assert forbidden(server, user, *command)


def test_a_connection_without_a_password_is_rejected(server):
    """The default user is disabled."""
    with server.client() as client, pytest.raises(redis.AuthenticationError):
        client.ping()
