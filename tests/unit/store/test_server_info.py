"""What is said of a Redis that may lose what it was told."""

import pytest
from task_status_service.store.server_info import warnings_of, weaknesses_of

DURABLE = {"aof_enabled": "1", "maxmemory": "0", "maxmemory_policy": "noeviction"}


@pytest.mark.parametrize(
    ("info", "save", "named"),
    [
        ({}, "", []),
        ({}, "3600 1", []),
        ({}, None, []),
        ({"aof_enabled": "0"}, "3600 1 300 100", []),
        ({"aof_enabled": "0"}, None, []),
        ({"aof_enabled": "0"}, "", ["CONFIG SET appendonly yes"]),
        ({"maxmemory": "100"}, "", []),
        ({"maxmemory_policy": "allkeys-lru"}, "", []),
        ({"maxmemory": "100", "maxmemory_policy": "volatile-lru"}, "", ["CONFIG SET maxmemory-policy noeviction"]),
        (
            {"aof_enabled": "0", "maxmemory": "100", "maxmemory_policy": "allkeys-lru"},
            "",
            ["CONFIG SET appendonly yes", "CONFIG SET maxmemory-policy noeviction"],
        ),
    ],
)
def test_weaknesses(info, save, named):
    """Neither kind of persistence, or a policy that evicts where memory is bounded; each with its remedy."""
    weaknesses = weaknesses_of(DURABLE | info, save=save)

    assert len(weaknesses) == len(named)
    assert all(remedy in weakness for remedy, weakness in zip(named, weaknesses, strict=True))


@pytest.mark.parametrize(
    ("info", "word"),
    [
        ({"role": "slave"}, "replica"),
        ({"aof_last_write_status": "err"}, "append-only file"),
        ({"maxmemory": "100", "used_memory": "100"}, "memory"),
    ],
)
def test_takes_no_writes(info, word):
    """A Redis that takes no writes at present; which is no weakness."""
    [warning] = warnings_of(DURABLE | info, save="")

    assert warning.startswith("Redis takes no writes, because")
    assert word in warning
    assert weaknesses_of(DURABLE | info, save="") == []


def test_what_is_not_known_is_no_weakness():
    """A Redis that does not tell is not accused; that it does not tell is said."""
    assert weaknesses_of({}, save=None) == []
    assert "INFO" in warnings_of({}, save=None)[0]
    assert "CONFIG" in warnings_of(DURABLE | {"aof_enabled": "0"}, save=None)[0]
    assert warnings_of(DURABLE, save=None) == warnings_of(DURABLE | {"aof_enabled": "0"}, save="") == []
