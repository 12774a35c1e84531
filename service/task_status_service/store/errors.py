"""Convert exceptions of redis-py into the errors of this service (error_causes.py has their causes).

A caller reads what happened, without hosts or names. The log and `/readyz` also contain the address, the command and
the remedy: the log once for each cause of an outage, with the number of failed requests at its end.
"""

import logging
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import hiredis
import redis
from task_status_worker.record.sentinel import MasterConnection

from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.store.error_causes import FULL, READ_ONLY, WRONG_TYPE, Cause, cause_of, detail_of

log = logging.getLogger(__name__)

#: time without an error after which an outage has ended; while it lasts, some commands may succeed
_CALM_SECONDS: Final = 5.0


class ReadFailed(redis.ConnectionError):
    """A shared read failed."""

    def __init__(self, message: str, *, address: str) -> None:
        super().__init__(message)
        self.address = address


def address_of(pool: redis.ConnectionPool) -> str:
    """Return where a pool connects to: host and port, or the path of a socket; never a user or a password."""
    options = pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    if issubclass(pool.connection_class, MasterConnection):
        master = options["master"]
        host, port = master.current or ("?", 0)
        return f"{host}:{port} (master {master.name!r})"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


class Outage:
    """The errors of one Redis since it last worked."""

    def __init__(self) -> None:
        self._counts: dict[Cause, int] = {}
        self._last_at = 0.0

    def add(self, cause: Cause, text: str) -> None:
        """Add one error; log its cause if it is new in this outage."""
        self._last_at = time.monotonic()
        if cause not in self._counts:
            log.warning("%s Repetitions are counted, and not logged.", text)
        self._counts[cause] = self._counts.get(cause, 0) + 1

    def end(self) -> None:
        """End the outage if no error has occurred for some seconds; log the number of errors."""
        if self._counts and time.monotonic() - self._last_at > _CALM_SECONDS:
            counts, self._counts = self._counts, {}
            log.warning("Redis works again, after %d failed requests.", sum(counts.values()))


#: by client: the parts of a store share their outages
_OUTAGES: "weakref.WeakKeyDictionary[redis.Redis, Outage]" = weakref.WeakKeyDictionary()


class NamedErrors:
    """The conversion of the errors of one Redis."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        on_unavailable: Callable[[], None] = lambda: None,
        find_wrong_types: Callable[[], str] = lambda: "",
    ) -> None:
        """Create the conversion.

        Args:
            client: its address is logged.
            on_unavailable: called for an error after which no heartbeat is known.
            find_wrong_types: returns a description of the keys that have a wrong type.
        """
        self._client = client
        self._on_unavailable = on_unavailable
        self._find_wrong_types = find_wrong_types
        self._outage = _OUTAGES.setdefault(client, Outage())

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Convert the errors of a block.

        Raises:
            StoreFull: Redis is out of memory.
            StoreUnavailable: any other error of Redis, or of the connection.
        """
        try:
            yield
        except (redis.RedisError, OSError, hiredis.HiredisError) as error:
            raise self._named(error) from error
        self._outage.end()

    @property
    def _address(self) -> str:
        return address_of(self._client.connection_pool)

    def _named(self, error: Exception) -> StoreUnavailable:
        cause = cause_of(error)
        detail = self._find_wrong_types() if cause is WRONG_TYPE else detail_of(cause, error)
        address = error.address if isinstance(error, ReadFailed) else self._address
        text = f"Redis at {address} {cause.operator.format(detail=detail)}"
        self._outage.add(cause, text)
        if cause.is_outage:
            self._on_unavailable()
        if cause is READ_ONLY:
            # The host name may lead to the new master.
            self._close_idle_connections()
        return (StoreFull if cause is FULL else StoreUnavailable)(cause.public, cause=text)

    def _close_idle_connections(self) -> None:
        pool: Any = self._client.connection_pool
        pool.disconnect(inuse_connections=False)


def is_wrong_type(error: Exception) -> bool:
    """Return whether a command failed because its key holds another Redis type."""
    return isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")
