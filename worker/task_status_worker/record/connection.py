"""Redis clients with short timeouts, from URLs in the format of Celery or redis-py. Kit and service use them."""

import re
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from task_status_worker.record.sentinel import Address, Master, MasterConnection, master_of

#: Celery writes `package:Backend+redis://` for a custom backend class, and `redis+socket://` for a Unix socket
_SCHEME: Final = re.compile(r"(?:[^/]*\+)?(redis|rediss|unix|socket|sentinel)://", re.IGNORECASE)

_SENTINEL_PORT: Final = 26_379


def is_redis_url(url: str) -> bool:
    """Return whether `connect` supports a Celery broker or backend URL."""
    return _SCHEME.match(url) is not None


def connect(
    url: str,
    *,
    timeout_seconds: float,
    retries: int = 0,
    max_connections: int | None = None,
    sentinel_master: str | None = None,
) -> redis.Redis:
    """Return a client that connects on first use. Settings in the URL's query take precedence.

    `timeout_seconds` limits connecting, each command, and waiting for one of `max_connections`. redis-py retries ten
    times by default, which takes a minute with a stalled Redis.

    Raises:
        ValueError: it is no Redis URL, or a Sentinel URL without the name of a master.
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
        options |= _options_of(sentinel_of(url), sentinel_master, timeout_seconds)
        pool = (
            redis.ConnectionPool(**options)
            if max_connections is None
            else redis.BlockingConnectionPool(max_connections=max_connections, timeout=timeout_seconds, **options)  # type: ignore[no-untyped-call]  # redis-py
        )
        return redis.Redis(connection_pool=pool)
    address = _as_redis_py_writes(f"{scheme}://{rest}")
    if max_connections is None:
        return redis.Redis.from_url(address, **options)
    pool = redis.BlockingConnectionPool.from_url(
        address, max_connections=max_connections, timeout=timeout_seconds, **options
    )
    return redis.Redis(connection_pool=pool)


def _as_redis_py_writes(url: str) -> str:
    """Rename the query settings of Celery to those of redis-py."""
    # Not with urlunsplit, which drops the slashes of a Unix socket.
    address, _, given = url.partition("?")
    query = dict(parse_qsl(given))
    if "virtual_host" in query:
        query["db"] = query.pop("virtual_host")
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].lower().removeprefix("cert_")
    return f"{address}?{urlencode(query)}" if query else address


class SentinelUrl(msgspec.Struct, frozen=True):
    """The parts of a URL in Celery's format, `sentinel://host:port/db;sentinel://host:port/db`."""

    nodes: tuple[Address, ...]
    db: int
    #: user and password of the master, as written in the URL: `user:password@`, or empty
    user_info: str

    def master(self, name: str | None, *, timeout_seconds: float) -> Master:
        """Return the master of a name.

        Raises:
            ValueError: there is no name.
        """
        if not name:
            raise ValueError(
                "a sentinel:// URL needs the name of a master: set master_name in result_backend_transport_options"
            )
        return master_of(self.nodes, name, timeout_seconds=timeout_seconds)


def sentinel_of(url: str) -> SentinelUrl:
    """Return the parts of a Sentinel URL; the first node names database, user and password."""
    nodes = [urlsplit(f"sentinel://{node.split('://')[-1]}") for node in url.partition("://")[2].split(";")]
    first = nodes[0]
    user_info, separator, _ = first.netloc.rpartition("@")
    return SentinelUrl(
        nodes=tuple((node.hostname or "localhost", node.port or _SENTINEL_PORT) for node in nodes),
        db=int(first.path.strip("/") or 0),
        user_info=user_info + separator,
    )


def _options_of(url: SentinelUrl, master: str | None, timeout_seconds: float) -> dict[str, Any]:
    user, _, password = url.user_info.removesuffix("@").partition(":")
    return {
        "connection_class": MasterConnection,
        "master": url.master(master, timeout_seconds=timeout_seconds),
        "db": url.db,
        "username": unquote(user) or None,
        "password": unquote(password) or None,
    }
