"""Keys of this service that another program has overwritten with a value of another type.

Scripts repair such a key when they meet it, and keep its name and type for a day. Commands only fail.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final

import redis
from task_status_worker.record.keys import Keys

from task_status_service.status import TaskState

log = logging.getLogger(__name__)

#: limit of the repaired keys that are read, and of the characters of a key in a message
_MAX_REPAIRS: Final = 20
_MAX_KEY: Final = 120


class WrongTypes:
    """The shared keys of the service in one Redis."""

    def __init__(self, keys: Keys) -> None:
        self._expected: Mapping[str, str] = {
            keys.workers: "zset",
            keys.consumers: "hash",
            keys.task_types: "hash",
            keys.epoch: "string",
            keys.index_by_expiry: "zset",
            **{keys.index_by_state(state): "zset" for state in TaskState},
        }
        self._repairs = keys.repairs
        self._logged: set[str] = set()

    @property
    def count(self) -> int:
        """The number of commands of one check, and of their replies."""
        return len(self._expected) + 1

    def add_to(self, pipeline: Any) -> None:
        """Add the commands of a check to a pipeline."""
        for key in self._expected:
            pipeline.type(key)
        pipeline.hrandfield(self._repairs, _MAX_REPAIRS, withvalues=True)

    def warnings(self, replies: Sequence[Any]) -> list[str]:
        """Return a warning for each key that has, or had, a wrong type; log the new ones."""
        *types, repaired = replies
        found = [
            f"The key {key!r} has the type {_text(kind)}, and must be a {expected}: delete it."
            for (key, expected), kind in zip(self._expected.items(), types, strict=True)
            if isinstance(kind, bytes) and _text(kind) not in ("none", expected)
        ]
        found += [
            f"The key {key!r} had the type {kind}, and was deleted within the last day: find the program that wrote it."
            for key, kind in _pairs(repaired)
        ]
        for warning in found:
            if warning not in self._logged:
                log.warning("%s", warning)
        self._logged = set(found)
        return found

    def describe(self, client: redis.Redis) -> str:
        """Return the keys of a wrong type, for the middle of a sentence; empty if none is found."""
        pipeline = client.pipeline(transaction=False)
        self.add_to(pipeline)
        try:
            found = self.warnings(pipeline.execute(raise_on_error=False))
        except (redis.RedisError, OSError):
            return ""
        return f" ({' '.join(found).removesuffix('.')})" if found else ""


def _text(kind: bytes) -> str:
    return kind.decode("ascii", "replace")


def _pairs(repaired: Any) -> list[tuple[str, str]]:
    """Return the pairs of a reply, which is flat or nested, depending on the protocol version."""
    if isinstance(repaired, Exception) or not repaired:
        return []
    flat = [part for pair in repaired for part in pair] if isinstance(repaired[0], list | tuple) else repaired
    texts = [bytes(part).decode("utf-8", "replace")[:_MAX_KEY] for part in flat]
    return list(zip(texts[::2], texts[1::2], strict=True))
