"""The names of all that is kept in Redis, and how long. Pure; both sides import it, so they agree on every key."""

import functools
import hashlib
from typing import Final

import msgspec

#: a worker that was not seen, and a task type that was not announced, for this long no longer counts
SEEN_SECONDS: Final = 86_400

#: what a worker instance serves is forgotten when it has not said so for this long; it does each minute
SERVING_SECONDS: Final = 600


class KeyNames(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of keys, for scripts that learn an owner, a state or a name only from a record.

    The key of a record is `records` and its task id. A key of the index is a base, then `state` and a state, or `name`
    and a task name. The base is `index` for all tasks; for one owner it is `owner`, the owner and `owner_end`.
    """

    records: str
    index: str
    owner: str
    owner_end: str
    state: str
    name: str

    def base_of(self, owner: str | None) -> str:
        """Return the start of every key in the index of one owner, or of all tasks if `owner` is None."""
        return self.index if owner is None else f"{self.owner}{owner}{self.owner_end}"


@functools.cache
def _names_under(prefix: str) -> KeyNames:
    index = f"{prefix}task-status:index:"
    return KeyNames(
        records=f"{prefix}task-status:record:",
        index=index,
        owner=f"{index}owner:",
        owner_end=":",
        state="state:",
        name="name:",
    )


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
        return f"{self.names.records}{task_id}"

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

    def index_by_state(self, state: str, owner: str | None = None) -> str:
        """Name the sorted set of the tasks in one state: of one owner, or of all if `owner` is None.

        Members are task ids, scored by the time of the first note in milliseconds, which never changes.
        """
        names = self.names
        return f"{names.base_of(owner)}{names.state}{state}"

    def index_by_name(self, name: str, owner: str | None = None) -> str:
        """Name the sorted set of the tasks of one task type; members and `owner` as in `index_by_state`."""
        names = self.names
        return f"{names.base_of(owner)}{names.name}{name}"

    @property
    def index_by_expiry(self) -> str:
        """Name the sorted set that says when records expire, in seconds since the epoch.

        Members are task id, NUL, owner, NUL and task name.
        """
        return f"{self.names.index}expiry"

    @property
    def names(self) -> "KeyNames":
        """The parts from which a script joins the keys of other tasks and owners."""
        return _names_under(self.prefix)

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
