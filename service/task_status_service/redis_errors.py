"""Turn whatever redis-py raises into the errors that this service names."""

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from task_status_service.errors import StoreFull, StoreUnavailable


@contextmanager
def named_errors() -> Iterator[None]:
    """Raise `StoreFull` where Redis takes no more writes, and `StoreUnavailable` for anything else."""
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise StoreFull from error
    except (redis.RedisError, OSError) as error:
        raise (StoreFull if "OOM" in str(error) else StoreUnavailable) from error
