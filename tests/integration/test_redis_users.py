"""The denials of the users in docs/redis-users.md; the acceptance tests run service and workers as these users."""

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner
from support.redis_users import PASSWORD, running_redis_with_users, url_of
from support.servers import RedisServer
from task_status_service.cli.main import main
from task_status_service.store.redis_users import API, SEND, WORKER
from task_status_worker.record.keys import Keys

PAGE = Path(__file__).parents[2] / "docs" / "redis-users.md"
QUEUES = ["celery", "shop.mail"]
PREFIX = "shop[1]:"
KEYS = Keys.under(PREFIX)

#: one key of each kind that the record writes
RECORDS = [
    KEYS.record("a"),
    KEYS.call("a"),
    KEYS.claim("alice", "order-1"),
    KEYS.index_by_state("queued"),
    KEYS.index_by_state("queued", owner="alice"),
    KEYS.index_by_name("demo.add", owner="alice"),
    KEYS.index_by_expiry,
    KEYS.task_types,
    KEYS.consumers,
    KEYS.workers,
    KEYS.epoch,
]
#: a queue and its priorities, as kombu names them
SENT_TO = ["celery", "celery\x06\x163", "celery\x06\x166", "celery\x06\x169", "shop.mail", "shop.mail\x06\x169"]
#: keys of kombu that are no queues of tasks
OF_KOMBU = ["unacked", "unacked_index", "unacked_mutex", "celery@host.celery.pidbox", "a1.reply.celery.pidbox"]
#: keys of other apps, with names close to the permitted ones
OF_OTHERS = [
    *("another-app", "celeryX", "celery_other_apps_list", "celeryXX3", "celery:3", "celery\x06\x1633", "shopXmail"),
    # Under another prefix, also one that the prefix would match as a pattern.
    *("task-status:epoch", "celery-task-meta-a", "shop1:task-status:epoch", "shop1:celery-task-meta-a"),
    *("my-task-status:epoch", "other.celery.pidboxes", "_kombu.bindings"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with these users, and with keys of other apps."""
    folder = tmp_path_factory.mktemp("users")
    with running_redis_with_users(folder, queues=QUEUES, prefix=PREFIX, durable=True) as server:
        with server.client() as client:
            for key in OF_OTHERS:
                client.set(key, "a secret")
        yield server


def forbidden(server: RedisServer, user: str, *command: str) -> bool:
    """Return whether Redis denies a command to a user."""
    with redis.Redis.from_url(url_of(server, user)) as client:
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


@pytest.mark.parametrize("user", [API, SEND, WORKER])
@pytest.mark.parametrize(
    "command",
    [
        ("CONFIG", "GET", "*"),
        ("CONFIG", "SET", "dir", "/"),
        ("KEYS", "*"),
        ("SCAN", "0"),
        ("RANDOMKEY",),
        ("DBSIZE",),
        ("FLUSHALL",),
        ("FLUSHDB",),
        ("SWAPDB", "0", "1"),
        ("DEBUG", "SLEEP", "0"),
        ("ACL", "LIST"),
        ("MONITOR",),
        ("SHUTDOWN",),
        ("REPLICAOF", "evil.example", "6379"),
        ("MODULE", "LIST"),
        ("CLIENT", "LIST"),
        ("CLIENT", "TRACKING", "ON", "BCAST"),
        ("PUBSUB", "CHANNELS"),
        ("SCRIPT", "FLUSH"),
    ],
    ids=" ".join,
)
def test_operator_commands_are_denied(server, user, command):
    """No user may list keys, connections or channels, flush a database or administrate the server."""
    assert forbidden(server, user, *command)


@pytest.mark.parametrize("key", [*RECORDS, *OF_KOMBU, *OF_OTHERS, KEYS.meta("a")])
def test_the_sender_pushes_only_to_its_queues(server, key):
    """The sender may push to no key that is not one of its queues, and may read or delete none."""
    for command in (("LPUSH", key, "{}"), ("SADD", key, "a"), ("GET", key), ("DEL", key), ("HSET", key, "a", "b")):
        assert forbidden(server, SEND, *command)


@pytest.mark.parametrize("key", SENT_TO)
def test_the_sender_only_adds_to_its_queues(server, key):
    """The sender may add to its queues and count what waits, but may not read or remove messages."""
    assert not forbidden(server, SEND, "LPUSH", key, "{}")
    assert not forbidden(server, SEND, "LLEN", key)
    for command in (("LRANGE", key, "0", "-1"), ("RPOP", key), ("DEL", key), ("LSET", key, "0", "x")):
        assert forbidden(server, SEND, *command)


@pytest.mark.parametrize("key", [*SENT_TO, *OF_KOMBU, *OF_OTHERS, "_kombu.binding.celery"])
def test_the_service_has_no_access_to_messages_or_other_keys(server, key):
    """The user of the records may use no queue, no key of kombu and no key of another app, also in a script."""
    for command in (("LPUSH", key, "{}"), ("GET", key), ("DEL", key), ("RENAME", KEYS.epoch, key), ("TYPE", key)):
        assert forbidden(server, API, *command)
    assert forbidden(server, API, "EVAL", f"return redis.call('TYPE', [[{key}]])", "0")
    assert forbidden(server, API, "EVAL", "return redis.call('TYPE', KEYS[1])", "1", key)


@pytest.mark.parametrize("key", [*RECORDS, KEYS.meta("a")])
def test_service_and_workers_use_the_records(server, key):
    """Both use the keys of records and results, under the prefix."""
    for user in (API, WORKER):
        assert not forbidden(server, user, "TYPE", key)
        assert not forbidden(server, user, "DEL", key)
        assert not forbidden(server, user, "PUBLISH", key, "1")


@pytest.mark.parametrize("key", [*SENT_TO, *OF_KOMBU, KEYS.meta("a"), f"{PREFIX}celery-taskset-meta-a.j"])
def test_workers_use_their_queues_and_the_keys_of_celery(server, key):
    """Workers use their queues, what kombu keeps beside them, and the results of Celery."""
    assert not forbidden(server, WORKER, "DEL", key)


@pytest.mark.parametrize("key", OF_OTHERS)
def test_workers_have_no_access_to_keys_of_other_apps(server, key):
    """Workers may not read or write other keys, also in a script, unless an option permits them."""
    for command in (("GET", key), ("SET", key, "a"), ("DEL", key), ("EVAL", f"redis.call('DEL', [[{key}]])", "0")):
        assert forbidden(server, WORKER, *command)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        (API, ("SUBSCRIBE", "another-app")),
        (API, ("PSUBSCRIBE", "*")),
        (API, ("PUBLISH", "/0.celery.pidbox", "{}")),
        (SEND, ("EVAL", "return 1", "0")),
        (SEND, ("SUBSCRIBE", "/0.celery.pidbox")),
        (SEND, ("PUBLISH", KEYS.record("a"), "1")),
        (SEND, ("PUBLISH", "/0.another.celery.pidbox", "{}")),
        ("ping", ("GET", "another-app")),
        ("ping", ("INFO",)),
    ],
)
def test_channels_and_scripts_are_denied(server, user, command):
    """Each user may use only its own channels; the sender runs no scripts; a health check may only ping."""
    assert forbidden(server, user, *command)


def test_a_connection_without_a_password_is_rejected(server):
    """The default user is disabled, for every password."""
    for credentials in ("", ":", "default:", f"default:{PASSWORD}"):
        with redis.Redis.from_url(server.url_as(credentials)) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_protected_mode_permits_these_users(server):
    """With protected mode on, other machines reach Redis, because the default user is disabled."""
    with server.client() as client:
        assert client.config_get("protected-mode") == {"protected-mode": "yes"}
    # Redis regards only 127.0.0.1 and ::1 as this machine (networking.c, acceptCommonHandler).
    with socket.create_connection(("127.0.0.1", server.port), source_address=("127.0.0.2", 0), timeout=5) as other:
        other.sendall(b"PING\r\n")
        assert other.recv(100).startswith(b"-NOAUTH ")


def test_a_restart_keeps_transactions_and_records(server):
    """Redis 7.0 loads only what the default user may do: it would skip every script and transaction."""
    with redis.Redis.from_url(url_of(server, API)) as client:
        client.eval(
            "redis.call('HSET', KEYS[1], 'a', '1') redis.call('SET', KEYS[2], '1')", 2, KEYS.record("kept"), KEYS.epoch
        )
    server.stop()
    server.start()
    with server.client() as client:
        assert client.hget(KEYS.record("kept"), "a") == b"1"


def test_the_page_shows_the_output_of_the_command():
    """The lines of the page are those that the command prints for the queue `celery`."""
    users = ("STATUS_API", "STATUS_SEND", "WORKER", "REPLICA", "SENTINEL")
    environ = {f"{user}_PASSWORD": f"{user.replace('_', '-')}-PASSWORD" for user in users}

    printed = CliRunner().invoke(main, ["redis-users", "--replicated"], env=environ).output

    assert printed.splitlines() == re.findall(r"^user .*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
