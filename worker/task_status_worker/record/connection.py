"""Turn a URL, as Celery or redis-py writes it, into a Redis client that gives up soon. Both sides connect by it."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

#: Celery writes `package:Backend+redis://` for a backend class of one's own, and `redis+socket://` for a Unix socket
_SCHEME: Final = re.compile(r"(?:[^/]*\+)?(redis|rediss|unix|socket|sentinel)://", re.IGNORECASE)

_SENTINEL_PORT: Final = 26_379


def is_redis_url(url: str) -> bool:
    """Say whether a Celery broker or backend URL is one that `connect` can use."""
    return _SCHEME.match(url) is not None


def connect(
    url: str,
    *,
    timeout_seconds: float,
    retries: int = 0,
    max_connections: int | None = None,
    sentinel_master: str | None = None,
) -> redis.Redis:
    """Make a client; nothing is opened until it is used. Settings in the URL's query come first.

    Connecting, one command, and waiting for one of `max_connections` may each take `timeout_seconds`. `redis.Redis`
    retries ten times unless told otherwise, which takes a minute against a Redis that is stalled.

    Raises:
        ValueError: it is no Redis URL, or one of Sentinel without the name of a master.
    """
    found = _SCHEME.match(url)
    if found is None:
        raise ValueError(f"not a Redis URL: {urlsplit(url).scheme}://")
    scheme, rest = found[1].lower(), url[found.end() :]
    options: dict[str, Any] = {"socket_timeout": timeout_seconds, "retry": Retry(NoBackoff(), retries)}
    if scheme in ("socket", "unix"):
        scheme = "unix"
    else:
        options["socket_connect_timeout"] = timeout_seconds
    if scheme == "sentinel":
        return _connect_by_sentinel(rest, sentinel_master, options)
    address = _as_redis_py_writes(f"{scheme}://{rest}")
    if max_connections is None:
        return redis.Redis.from_url(address, **options)
    pool = redis.BlockingConnectionPool.from_url(
        address, max_connections=max_connections, timeout=timeout_seconds, **options
    )
    return redis.Redis(connection_pool=pool)


def _as_redis_py_writes(url: str) -> str:
    """Turn the query settings that Celery names in its own way into redis-py's."""
    # Not by urlunsplit, which drops the slashes of a Unix socket.
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
        raise ValueError("a sentinel:// URL needs the name of a master, as Celery has it in the option master_name")
    nodes = [urlsplit(f"sentinel://{node.split('://')[-1]}") for node in rest.split(";")]
    sentinel = Sentinel(
        [(node.hostname or "localhost", node.port or _SENTINEL_PORT) for node in nodes],  # type: ignore[no-untyped-call]  # redis-py
        sentinel_kwargs=options,
        **options,
    )
    first = nodes[0]
    db = int(first.path.strip("/") or 0)
    username, password = (unquote(given) if given else None for given in (first.username, first.password))
    return sentinel.master_for(  # type: ignore[no-untyped-call,no-any-return]  # redis-py
        master, db=db, username=username, password=password
    )
