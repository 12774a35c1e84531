"""Evaluate the `INFO` reply of a Redis server: its durability, and whether it accepts writes."""

from collections.abc import Mapping
from typing import Final

_NOT_PERSISTENT: Final = (
    "Redis loses all data on a restart: its append-only file and its snapshots are off. Run "
    "`CONFIG SET appendonly yes`, and set `appendonly yes` in redis.conf."
)
_EVICTS: Final = (
    "Redis evicts tasks when its memory is full: `maxmemory` is set, and `maxmemory-policy` is {}. Run "
    "`CONFIG SET maxmemory-policy noeviction`, and set the same in redis.conf."
)
_SNAPSHOTS_UNKNOWN: Final = (
    "Whether Redis keeps its data across a restart is unknown: its append-only file is off, and CONFIG, which shows "
    "whether snapshots are on, is forbidden. Check `save` in redis.conf."
)
_INFO_FORBIDDEN: Final = (
    "Whether Redis keeps its data is unknown, because INFO is forbidden. Allow INFO to this Redis user."
)

_REPLICA: Final = (
    "Redis rejects writes, because it is a replica: submissions fail, and heartbeats are not stored. Connect to the "
    "primary."
)
_FULL: Final = (
    "Redis rejects writes, because its memory is full: submissions fail, and heartbeats are not stored. Raise "
    "`maxmemory`, or delete keys."
)
_DISK: Final = (
    "Redis rejects writes, because it could not write its append-only file: submissions fail, and heartbeats are not "
    "stored. Check the disk of the Redis server."
)


def number_of(info: Mapping[str, str], name: str, *, default: float) -> float:
    """Return a number from an `INFO` reply; `default` if it is missing or not a number."""
    text = info.get(name, "")
    return float(text) if text.isdecimal() else default


def is_replica(info: Mapping[str, str]) -> bool:
    """Return whether the server is a replica; False if `INFO` does not show it."""
    return info.get("role") == "slave"


def read_only_reason(info: Mapping[str, str]) -> str | None:
    """Return why Redis rejects writes at present; None if it accepts them, or if `INFO` does not show why."""
    if is_replica(info):
        return _REPLICA
    if info.get("aof_last_write_status") == "err":
        return _DISK
    limit = number_of(info, "maxmemory", default=0)
    is_full = 0 < limit <= number_of(info, "used_memory", default=0)
    return _FULL if is_full and info.get("maxmemory_policy") == "noeviction" else None


def durability_warnings_of(info: Mapping[str, str], *, save: str | None) -> list[str]:
    """Return how Redis may lose data; `save` is the setting of that name, None if unknown."""
    found = []
    if info.get("aof_enabled") == "0" and save == "":
        found.append(_NOT_PERSISTENT)
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        found.append(_EVICTS.format(policy))
    return found


def warnings_of(info: Mapping[str, str], *, save: str | None) -> list[str]:
    """Return the other warnings: Redis rejects writes at present, or its durability is unknown."""
    found = [reason] if (reason := read_only_reason(info)) else []
    if "aof_enabled" not in info:
        found.append(_INFO_FORBIDDEN)
    elif info["aof_enabled"] == "0" and save is None:
        found.append(_SNAPSHOTS_UNKNOWN)
    return found
