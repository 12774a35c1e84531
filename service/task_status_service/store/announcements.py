"""Announcements of the workers in Redis, read by scripts that limit entries and bytes before they are sent."""

import importlib.resources
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import redis
from task_status_worker.record.announcement import MAX_CONSUMER_BYTES, MAX_TASK_TYPE_BYTES, MAX_TASK_TYPES
from task_status_worker.record.keys import Keys

from task_status_service.status import STALLED_SECONDS
from task_status_service.store.errors import NamedErrors
from task_status_service.store.script_heads import AnnouncementsHead, ConsumersHead
from task_status_service.task_types.catalog import Announcements

#: bytes of all announcements of task types that are read at once
MAX_ANNOUNCED_BYTES: Final = 2_097_152
#: limit of the worker instances whose consumed task types and queues are read, and of their bytes
MAX_INSTANCES: Final = 1_000
MAX_CONSUMED_BYTES: Final = 4_194_304

_SCRIPTS: Final = importlib.resources.files(__package__) / "lua"
_ANNOUNCEMENTS_SCRIPT: Final = _SCRIPTS.joinpath("announcements.lua").read_text(encoding="utf-8")
_CONSUMERS_SCRIPT: Final = _SCRIPTS.joinpath("consumers.lua").read_text(encoding="utf-8")
_ANNOUNCEMENTS_HEAD: Final = msgspec.json.encode(
    AnnouncementsHead(limit=MAX_TASK_TYPES, entry_bytes=MAX_TASK_TYPE_BYTES, total_bytes=MAX_ANNOUNCED_BYTES)
)
_CONSUMERS_HEAD: Final = msgspec.json.encode(
    ConsumersHead(
        stalled_after_seconds=round(STALLED_SECONDS),
        limit=MAX_INSTANCES,
        entry_bytes=MAX_CONSUMER_BYTES,
        total_bytes=MAX_CONSUMED_BYTES,
    )
)


class RedisAnnouncements:
    """The announcements in one Redis; each read is one round trip. A key of another type contains none."""

    def __init__(self, records: redis.Redis, *, keys: Keys, on_unavailable: Callable[[], None] = lambda: None) -> None:
        """Create a reader; `on_unavailable` is called before `StoreUnavailable` is raised."""
        self._keys = keys
        self._named_errors = NamedErrors(records, on_unavailable=on_unavailable)
        self._announcements_script = records.register_script(_ANNOUNCEMENTS_SCRIPT)
        self._consumers_script = records.register_script(_CONSUMERS_SCRIPT)

    def announcement(self, name: str) -> tuple[float, bytes | None]:
        """Read the announcement of one task type, and the time by the Redis clock in seconds."""
        found = self._read(name)
        return found.now, next(iter(found.stored), None)

    def announcements(self) -> Announcements:
        """Read the announcements of at most `MAX_TASK_TYPES`, of `MAX_ANNOUNCED_BYTES` together."""
        return self._read()

    def _read(self, *name: str) -> Announcements:
        with self._named_errors():
            seconds, is_complete, *stored = self._announcements_script(
                keys=[self._keys.task_types], args=[_ANNOUNCEMENTS_HEAD, *name]
            )
        return Announcements(float(seconds), stored, bool(is_complete))

    def consumers(self) -> Sequence[bytes] | None:
        """Read what each live worker instance consumes, newest first; None if a key is missing or of another type."""
        with self._named_errors():
            stored: list[bytes] | None = self._consumers_script(
                keys=[self._keys.workers, self._keys.consumers], args=[_CONSUMERS_HEAD]
            )
        return stored
