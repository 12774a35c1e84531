"""The names of all that is kept in Redis, and how long. Pure; both sides import it, so they agree on every key."""

import hashlib
from typing import Final

import msgspec

#: a worker that was not seen, and a task type that was not announced, for this long no longer counts
SEEN_SECONDS: Final = 86_400

#: what a worker instance serves is forgotten when it has not said so for this long; it does each minute
SERVING_SECONDS: Final = 600


class Keys(msgspec.Struct, frozen=True):
    """Name every Redis key that either side uses, under Celery's `global_keyprefix` where one is set."""

    #: as Celery joins it: ends in one of `:_-.`, or is empty
    prefix: str = ""

    @classmethod
    def under(cls, global_keyprefix: str | None) -> "Keys":
        """Make the keys of a Celery `global_keyprefix`, which Celery joins with `_` unless it ends in one of `:_-.`.

        Source: celery/backends/base.py, KeyValueStoreBackend._add_global_keyprefix.
        """
        prefix = global_keyprefix or ""
        return cls(prefix if not prefix or prefix[-1] in ":_-." else prefix + "_")

    def meta(self, task_id: str) -> str:
        """Name the key, and the channel, where Celery's Redis backend keeps a task's meta."""
        return f"{self.prefix}celery-task-meta-{task_id}"

    def record(self, task_id: str) -> str:
        """Name the key, and the channel, of a task's record."""
        return f"{self.prefix}task-status:record:{task_id}"

    def known(self, task_id: str) -> str:
        """Name the marker that outlives a record, so that an expired task is told from one that never was.

        It holds the owner, if the task had one.
        """
        return f"{self.prefix}task-status:known:{task_id}"

    def call(self, task_id: str) -> str:
        """Name the key of what a worker is asked to run, kept for a retry."""
        return f"{self.prefix}task-status:call:{task_id}"

    def resent(self, task_id: str) -> str:
        """Name the mark of a task that was sent again."""
        return f"{self.prefix}task-status:resent:{task_id}"

    def claim(self, owner: str, key: str) -> str:
        """Name the key of what is kept of an owner's Idempotency-Key, of which Redis sees a hash."""
        digest = hashlib.sha256(f"{owner}\0{key}".encode()).hexdigest()
        return f"{self.prefix}task-status:claim:{digest}"

    def task_of(self, key: str) -> str:
        """Name the task of a key, or channel, that `meta` or `record` names."""
        name = key.removeprefix(self.prefix)
        return name.removeprefix("celery-task-meta-").removeprefix("task-status:record:")

    @property
    def index(self) -> str:
        """Name what every key of the index begins with: `state:` and a state, `name:` and a task name, or `expiry`.

        Each is a sorted set. By state and by name: task id by the time of the first note in milliseconds, which never
        changes. By expiry: task id, NUL, owner, NUL and task name by the second in which the record expires.
        """
        return f"{self.prefix}task-status:index:"

    def index_of(self, owner: str | None) -> str:
        """Name what every key begins with of the index of one owner's tasks, by state and by name; None: of all."""
        return self.index if owner is None else f"{self.index}owner:{owner}:"

    @property
    def task_types(self) -> str:
        """Name the hash of announced task types: name to announcement."""
        return f"{self.prefix}task-status:task-types"

    @property
    def serving(self) -> str:
        """Name the hash of what each worker instance serves: instance to its task types and queues."""
        return f"{self.prefix}task-status:serving"

    @property
    def workers(self) -> str:
        """Name the sorted set of worker instances that were seen: by Redis's time in seconds, with a fraction."""
        return f"{self.prefix}task-status:workers"

    @property
    def epoch(self) -> str:
        """Name what says since when the store has kept its data: a time and a random part."""
        return f"{self.prefix}task-status:epoch"


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Say how long records are kept, in seconds; no write ever shortens it."""

    #: from the last write; longer than Celery's `result_expires` (one day unless set)
    record_seconds: int = 7 * 86_400
    #: how long after its record has expired a task still reads as expired and not as unknown
    known_seconds: int = 30 * 86_400
