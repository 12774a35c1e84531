"""Convert exceptions of redis-py into the errors of this service."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from task_status_service.errors import StoreFull, StoreUnavailable


@contextmanager
def named_errors(on_unavailable: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise `StoreFull` if Redis is out of memory; for other errors call `on_unavailable`, raise `StoreUnavailable`."""
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise StoreFull from error
    except (redis.RedisError, OSError) as error:
        if "OOM" in str(error):
            raise StoreFull from error
        if on_unavailable is not None:
            on_unavailable()
        raise StoreUnavailable from error
