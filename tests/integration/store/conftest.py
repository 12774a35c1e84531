"""A store over an empty Redis, and a client of that Redis; modules with other needs have their own."""

import pytest
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.keys import Keys, Retention


@pytest.fixture
def client(redis_url):
    """A client of the Redis of the store."""
    with connect_to(redis_url, sentinel_master="") as client:
        yield client


@pytest.fixture
def store(redis_url):
    """A store over an empty Redis."""
    store = RedisStore(connect_to(redis_url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
    yield store
    store.close()
