"""The users of a shared Redis, each with only the permissions that it needs (docs/redis-users.md).

Only syntax of Redis 6.2 is used: key patterns without separate permissions to read and to write.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec
from task_status_worker.record.keys import KEY_OF_META, KEY_OF_OURS, Keys

API: Final = "status-api"
SEND: Final = "status-send"
WORKER: Final = "worker"

#: No client can connect as this user, but it keeps its permissions: while Redis 7.0 loads its append-only file, it
#: checks each transaction and script by them, and skips what they do not permit. All records would be lost.
DEFAULT_OFF: Final = "user default off ~* &* +@all"

#: kombu stores priorities above 0 in separate keys: the queue, the bytes 6 and 22, and a digit. `[^!-~]` matches
#: each byte that is not printable, and so no character of another queue's name (kombu/transport/redis.py, _q_for_pri)
_PRIORITY: Final = "[^!-~][^!-~][1-9]"

#: not permitted: commands of operators; those that name no key and so find all; CLIENT, which lists connections and
#: follows keys of others with TRACKING. INFO is for /readyz
_EXCLUDED: Final = "-@dangerous -scan -randomkey -dbsize -pubsub -client +client|setname"
_SCRIPTS: Final = "+eval +evalsha +script|load +script|exists +time"


class RedisUser(msgspec.Struct, frozen=True):
    """A user with its ACL rules; without a password if it may do nothing that needs one."""

    name: str
    rules: str
    has_password: bool = True

    def acl_line(self, password: str, *, hashed: bool = False) -> str:
        """Return the line of an ACL file; a hashed password can be checked, but not used to connect."""
        secret = f"#{hashlib.sha256(password.encode()).hexdigest()}" if hashed else f">{password}"
        return f"user {self.name} on {secret if self.has_password else 'nopass'} {self.rules}"


def redis_users(
    *, queues: Collection[str], prefix: str = "", app_keys: Collection[str] = (), replicated: bool = False
) -> list[RedisUser]:
    """Return the users of service and workers.

    Args:
        queues: the queues that the service may send to, and that the workers consume.
        prefix: Celery's `global_keyprefix`, as in `Keys.under`.
        app_keys: patterns of other keys that the tasks themselves use.
        replicated: whether replicas and sentinels need users too.
    """
    ours = _escaped(Keys.under(prefix).prefix)
    stored = [f"{ours}{part}*" for part in (KEY_OF_OURS, KEY_OF_META)]
    readers = f"{_keys(stored)} resetchannels {_channels(stored)}"
    sent = [key for queue in queues for key in queue_keys(queue)]
    consumed = [key for queue in queues for key in (_escaped(queue), _escaped(queue) + _PRIORITY)]
    celery = [
        *(f"{ours}celery-taskset-meta-*", "unacked", "unacked_index", "unacked_mutex"),
        *("_kombu.binding.*", "_kombu.binding_*", "*.celery.pidbox", f"*.celery.pidbox{_PRIORITY}"),
        # Queues of events, which kombu deletes when their consumer stops.
        *("celeryev.*", *app_keys),
    ]
    users = [
        RedisUser(API, f"{readers} -@all +@connection +@read +@write +@pubsub {_SCRIPTS} {_EXCLUDED} +info"),
        RedisUser(
            SEND,
            # The channels of Celery's remote control, in the databases 0 to 99.
            f"{_keys(sent)} resetchannels {_channels(['/[0-9].celery.pidbox', '/[0-9][0-9].celery.pidbox'])} "
            f"-@all +@connection +@transaction +lpush +sadd +smembers +exists +llen +publish {_EXCLUDED}",
        ),
        RedisUser(
            WORKER,
            # PSUBSCRIBE needs the permission for its literal pattern, which contains the number of the database.
            f"{_keys([*stored, *consumed, *celery])} &* "
            f"-@all +@connection +@read +@write +@pubsub +@transaction +@blocking {_SCRIPTS} {_EXCLUDED} +info",
        ),
        RedisUser("ping", "resetkeys resetchannels -@all +ping", has_password=False),
    ]
    return [*users, *_REPLICATION] if replicated else users


#: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/#redis-access-control-list-authentication
_REPLICATION: Final = (
    RedisUser("replica", "resetkeys resetchannels -@all +psync +replconf +ping"),
    RedisUser(
        "sentinel",
        "resetkeys resetchannels &__sentinel__:hello -@all +multi +exec +slaveof +ping +subscribe +publish +info +role "
        "+config|rewrite +client|setname +client|kill +script|kill",
    ),
)


def queue_keys(queue: str) -> list[str]:
    """Return the key patterns that a sender to a queue needs: the queue, its priorities and its bindings."""
    name = _escaped(queue)
    return [name, name + _PRIORITY, f"_kombu.binding.{name}", f"_kombu.binding_permanent.{name}"]


def acl_lines(users: Collection[RedisUser], passwords: Mapping[str, str], *, hashed: bool = False) -> Iterator[str]:
    """Yield the lines of an ACL file, which disable the default user."""
    yield DEFAULT_OFF
    for user in users:
        yield user.acl_line(passwords.get(user.name, ""), hashed=hashed)


def _escaped(text: str) -> str:
    """Return a pattern that matches this text only."""
    return re.sub(r"([*?\[\]\\^])", r"\\\1", text)


def _keys(patterns: Collection[str]) -> str:
    return " ".join(f"~{pattern}" for pattern in patterns)


def _channels(patterns: Collection[str]) -> str:
    return " ".join(f"&{pattern}" for pattern in patterns)
