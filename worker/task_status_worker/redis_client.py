"""The recorder's Redis: short timeouts, no retries, every error one of two. The only module that imports redis."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from task_status_worker.record import NOTE_SCRIPT
from task_status_worker.recorder import Noted, Refused, Unreachable

#: seconds that connecting, and one command, may take
TIMEOUT_SECONDS: Final = 0.4

#: a worker or a task type that was not seen for this long is dropped
FORGET_AFTER_SECONDS: Final = 86_400

_SEE_WORKER_SCRIPT: Final = """
if redis.replicate_commands then redis.replicate_commands() end
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
"""

#: Redis answered, and may take the same write a moment later
_PASSING_REFUSALS: Final = (redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError)


class _Announced(msgspec.Struct):
    #: seconds since the epoch, by Redis's clock
    announced_at: int = 0


class RedisRecordClient:
    """Speak to one Redis for a recorder. Opens no connection until it is used."""

    def __init__(self, url: str, *, sentinel_master: str | None = None) -> None:
        self._redis = _connect(url, sentinel_master)
        self._note = self._redis.register_script(NOTE_SCRIPT)
        self._see_worker = self._redis.register_script(_SEE_WORKER_SCRIPT)

    def note(self, keys: list[str], args: list[str | int | bytes]) -> Noted:
        """Run `NOTE_SCRIPT`."""
        with _two_errors():
            _, _, cancel_requested, final, *_ = self._note(keys=keys, args=args)
        return Noted(cancel_requested=bool(cancel_requested), final=bool(final))

    def see_worker(self, key: str, hostname: str) -> None:
        """Write that a worker is there, by Redis's clock, and drop those that were not seen for a day."""
        with _two_errors():
            self._see_worker(keys=[key], args=[hostname, FORGET_AFTER_SECONDS])

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]]) -> None:
        """Write the entries for the present second by Redis's clock, and drop those not refreshed for a day."""
        client: Any = self._redis  # redis-py types every command as sync or async
        with _two_errors():
            now = client.time()[0]
            entries = entries_at(now)
            if entries:
                client.hset(key, mapping=entries)
            old = [name for name, stored in client.hgetall(key).items() if _is_old(stored, now)]
            if old:
                client.hdel(key, *old)


def _is_old(stored: bytes, now: int) -> bool:
    try:
        return msgspec.json.decode(stored, type=_Announced).announced_at < now - FORGET_AFTER_SECONDS
    except msgspec.MsgspecError:
        return True


@contextlib.contextmanager
def _two_errors() -> Iterator[None]:
    try:
        yield
    except _PASSING_REFUSALS as error:
        raise Unreachable(error) from error
    except redis.ResponseError as error:
        raise Refused(error) from error
    except (redis.RedisError, OSError) as error:
        raise Unreachable(error) from error


def is_redis_url(url: str) -> bool:
    """Say whether a Celery broker or backend URL is one that a recorder can use."""
    return _SCHEME.match(url) is not None


#: Celery writes `package:Backend+redis://` for a backend class of one's own, and `redis+socket://` for a Unix socket
_SCHEME: Final = re.compile(r"(?:[^/]*\+)?(redis|rediss|unix|socket|sentinel)://", re.IGNORECASE)


def _connect(url: str, sentinel_master: str | None) -> redis.Redis:
    """Make a client that gives up soon; settings in the URL's query come first.

    `Redis(...)` retries ten times unless told otherwise, which takes a minute against a Redis that is stalled.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise ValueError(f"not a Redis URL: {urlsplit(url).scheme}://")
    scheme, rest = found[1].lower(), url[found.end() :]
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if scheme == "sentinel":
        return _connect_by_sentinel(rest, sentinel_master, options)
    if scheme in ("socket", "unix"):
        del options["socket_connect_timeout"]
        return redis.Redis.from_url(_as_redis_py_writes(f"unix://{rest}"), **options)
    return redis.Redis.from_url(_as_redis_py_writes(f"{scheme}://{rest}"), **options)


def _as_redis_py_writes(url: str) -> str:
    """Turn the query settings that Celery names in its own way into redis-py's."""
    address, _, given = url.partition("?")
    query = dict(parse_qsl(given))
    if "virtual_host" in query:
        query["db"] = query.pop("virtual_host")
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    return f"{address}?{urlencode(query)}" if query else address


def _connect_by_sentinel(rest: str, master: str | None, options: dict[str, Any]) -> redis.Redis:
    """Find the master as Celery writes it: `sentinel://host:port/db;sentinel://host:port/db` and a master's name."""
    if not master:
        raise ValueError("a sentinel:// URL needs result_backend_transport_options['master_name']")
    nodes = [urlsplit(f"sentinel://{node.split('://')[-1]}") for node in rest.split(";")]
    sentinel = Sentinel(
        [(node.hostname or "localhost", node.port or 26379) for node in nodes],  # type: ignore[no-untyped-call]  # redis-py
        sentinel_kwargs=options,
        **options,
    )
    first = nodes[0]
    db = int(first.path.strip("/") or 0)
    return sentinel.master_for(  # type: ignore[no-untyped-call,no-any-return]  # redis-py
        master, db=db, username=first.username, password=first.password
    )
