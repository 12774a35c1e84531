"""Expired tasks in Redis: their records become tombstones, and the index drops them, without any note."""

import importlib.resources
from typing import Final

import msgspec
import redis
from task_status_worker.record.codec import SHARED_SCRIPT, script_of
from task_status_worker.record.keys import Keys, Retention

from task_status_service.store.errors import NamedErrors
from task_status_service.store.script_heads import SweepHead
from task_status_service.use_cases.sweeper import START, Place

_SCRIPTS: Final = importlib.resources.files(__package__) / "lua"

#: tasks of one script; each occupies Redis for about 1 ms
EXPIRED_AT_ONCE: Final = 100
CHECKED_AT_ONCE: Final = 500


class RedisExpiry:
    """The expiry of tasks, in the Redis of the records."""

    def __init__(self, records: redis.Redis, *, keys: Keys, retention: Retention) -> None:
        self._keys = keys
        self._retention = retention
        self._named_errors = NamedErrors(records)
        self._expire_script = records.register_script(_script("expire.lua"))
        self._check_script = records.register_script(_script("check_index.lua"))

    def expire_due(self) -> bool:
        """Expire a batch of due tasks in one round trip; return whether more tasks are due."""
        with self._named_errors():
            count = self._expire_script(keys=[self._keys.index_by_expiry], args=[self._head(EXPIRED_AT_ONCE)])
        return bool(count == EXPIRED_AT_ONCE)

    def check_index(self, place: Place) -> Place:
        """Drop tasks without a record from a part of the index, in one round trip; return the next place."""
        with self._named_errors():
            key, rank = self._check_script(
                keys=[self._keys.index_by_expiry, self._keys.index_keys],
                args=[self._head(CHECKED_AT_ONCE), place.key, place.rank],
            )
        return Place(key, rank) if key else START

    def _head(self, limit: int) -> bytes:
        head = SweepHead(
            names=self._keys.names,
            record_seconds=self._retention.record_seconds,
            known_seconds=self._retention.known_seconds,
            limit=limit,
        )
        return msgspec.json.encode(head)


def _script(name: str) -> str:
    return SHARED_SCRIPT + script_of(_SCRIPTS.joinpath(name).read_text(encoding="utf-8"))
