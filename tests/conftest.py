"""Shared by all tests: an environment without settings, and a real Redis on a free port."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.servers import RedisServer, running_redis

for name in [name for name in os.environ if name.startswith("TASK_STATUS_")]:
    del os.environ[name]


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis server for the whole session."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with running_redis(folder) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database."""
    with redis_server.client() as client:
        client.flushall()
    return redis_server.url
