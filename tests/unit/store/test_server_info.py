"""The warnings about a Redis that may lose data or rejects writes."""

import pytest
from task_status_service.store.server_info import durability_warnings_of, warnings_of

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
def test_each_durability_risk_has_a_warning_with_its_remedy(info, save, named):
    """Missing persistence, and eviction with bounded memory, each cause a warning that contains the remedy."""
    warnings = durability_warnings_of(DURABLE | info, save=save)

    assert len(warnings) == len(named)
    assert all(remedy in warning for remedy, warning in zip(named, warnings, strict=True))


@pytest.mark.parametrize(
    ("info", "word"),
    [
        ({"role": "slave"}, "replica"),
        ({"aof_last_write_status": "err"}, "append-only file"),
        ({"maxmemory": "100", "used_memory": "100"}, "memory"),
    ],
)
def test_rejected_writes_are_no_durability_risk(info, word):
    """A Redis that rejects writes causes a warning, but no durability warning."""
    [warning] = warnings_of(DURABLE | info, save="")

    assert warning.startswith("Redis rejects writes, because")
    assert word in warning
    assert durability_warnings_of(DURABLE | info, save="") == []


def test_unknown_durability_is_only_a_warning():
    """If INFO or CONFIG is forbidden, a warning says that the durability is unknown."""
    assert durability_warnings_of({}, save=None) == []
    assert "INFO" in warnings_of({}, save=None)[0]
    assert "CONFIG" in warnings_of(DURABLE | {"aof_enabled": "0"}, save=None)[0]
    assert warnings_of(DURABLE, save=None) == warnings_of(DURABLE | {"aof_enabled": "0"}, save="") == []
