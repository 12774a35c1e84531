"""Announcements of workers: their task types, and the types that each worker instance consumes. Pure.

The kit writes these structs and the service reads them, each as JSON in a hash of `Keys`.
"""

from typing import Final

import msgspec

#: limits of the announcements of one worker: the kit keeps them, and the service skips what exceeds them
MAX_TASK_TYPES: Final = 2_000
MAX_QUEUES: Final = 200
#: bytes of the schema of one task type; levels of nesting
MAX_SCHEMA_BYTES: Final = 65_536
MAX_SCHEMA_LEVELS: Final = 64
#: parameters of one task type
MAX_PARAMETERS: Final = 255
#: bytes of one announcement as JSON
MAX_TASK_TYPE_BYTES: Final = 131_072
MAX_CONSUMER_BYTES: Final = 262_144


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """The time of an announcement, which each announcement carries."""

    #: seconds since the epoch, by the Redis clock
    announced_at: float = 0.0


class TaskType(Announced, frozen=True):
    """A task type: its registered name, its queue and its signature."""

    name: str
    doc: str | None = None
    #: where Celery sends it by default; None if no worker has announced it
    queue: str | None = None
    #: JSON Schema of its arguments by name; `true` allows anything
    arguments: msgspec.Raw = msgspec.Raw(b"true")
    #: the parameters that may be passed by position, in their order
    positional: list[str] = []
    #: how many of these, from the first, may be passed by position only
    positional_only: int = 0
    #: JSON Schema of each further positional argument; may refer to the `$defs` of `arguments`; `false` allows none
    var_positional: msgspec.Raw = msgspec.Raw(b"true")
    #: its return value is not stored
    ignore_result: bool = False


class Consumer(Announced, frozen=True):
    """A worker instance that consumes task types: it executes each one it knows if it reads that type's queue."""

    task_types: list[str]
    queues: list[str]
