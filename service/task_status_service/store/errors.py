"""Turn whatever redis-py raises into the errors that this service names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import redis

from task_status_service.errors import StoreFull, StoreUnavailable


@contextmanager
def named_errors(on_unavailable: Callable[[], None] | None = None) -> Iterator[None]:
    """Raise `StoreFull` where Redis takes no more writes; for anything else `StoreUnavailable`, after telling."""
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
