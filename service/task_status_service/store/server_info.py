"""What `INFO` says of a Redis server: may it lose data, does it take writes."""

from collections.abc import Mapping
from typing import Final

_NOTHING_KEPT: Final = (
    "Redis keeps nothing across a restart: neither its append-only file nor its snapshots are on. To mend it: "
    "`CONFIG SET appendonly yes`, and `appendonly yes` in redis.conf."
)
_EVICTS: Final = (
    "Redis drops tasks when its memory is full: `maxmemory` is set, and `maxmemory-policy` is {}. To mend it: "
    "`CONFIG SET maxmemory-policy noeviction`, and the same in redis.conf."
)
_UNSEEN: Final = (
    "Whether Redis keeps its data across a restart cannot be seen: its append-only file is off, and it does not tell "
    "whether it takes snapshots, because CONFIG is forbidden."
)
_SILENT: Final = "Whether Redis keeps its data cannot be seen, because INFO is forbidden."


_REPLICA: Final = "Redis takes no writes, because it is a replica: nothing can be submitted, and no worker heard of."
_FULL: Final = "Redis takes no writes, because its memory is full: nothing can be submitted, and no worker heard of."
_DISK: Final = (
    "Redis takes no writes, because it could not write its append-only file: nothing can be submitted, and no worker "
    "heard of."
)


def number_of(info: Mapping[str, str], name: str, *, otherwise: float) -> float:
    """Read a number of `INFO`."""
    text = info.get(name, "")
    return float(text) if text.isdecimal() else otherwise


def hindrance_of(info: Mapping[str, str]) -> str | None:
    """Say why a Redis takes no writes at present; None if it does, as far as it tells."""
    if info.get("role") == "slave":
        return _REPLICA
    if info.get("aof_last_write_status") == "err":
        return _DISK
    limit = number_of(info, "maxmemory", otherwise=0)
    is_full = 0 < limit <= number_of(info, "used_memory", otherwise=0)
    return _FULL if is_full and info.get("maxmemory_policy") == "noeviction" else None


def weaknesses_of(info: Mapping[str, str], *, save: str | None) -> list[str]:
    """List how a Redis may lose what it was told; `save` is the setting of that name, None if it is not known."""
    found = []
    if info.get("aof_enabled") == "0" and save == "":
        found.append(_NOTHING_KEPT)
    policy = info.get("maxmemory_policy", "noeviction")
    if info.get("maxmemory", "0") != "0" and policy != "noeviction":
        found.append(_EVICTS.format(policy))
    return found


def warnings_of(info: Mapping[str, str], *, save: str | None) -> list[str]:
    """List what else an operator should know: that it takes no writes at present, and what could not be found out."""
    found = [hindrance] if (hindrance := hindrance_of(info)) else []
    if "aof_enabled" not in info:
        found.append(_SILENT)
    elif info["aof_enabled"] == "0" and save is None:
        found.append(_UNSEEN)
    return found
