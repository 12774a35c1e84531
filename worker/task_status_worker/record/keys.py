"""The names of all Redis keys, and how long they are kept. Pure; kit and service import it, so they agree."""

import base64
import functools
import hashlib
from typing import Final

import msgspec

#: seconds without a heartbeat or an announcement after which a worker instance or a task type is forgotten
SEEN_SECONDS: Final = 86_400

#: seconds without an announcement after which a consumer is forgotten; each announces itself once a minute
CONSUMER_SECONDS: Final = 600

#: starts of the keys of task-status, and of Celery's metas (celery/backends/base.py), after the prefix
KEY_OF_OURS: Final = "task-status:"
KEY_OF_META: Final = "celery-task-meta-"

#: parts of the names of keys of task-status and of Celery, which also have a prefix
RESERVED_PARTS: Final = (KEY_OF_OURS, KEY_OF_META, "celery-taskset-meta-", "chord-unlock-")


class KeyNames(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of keys, for scripts that learn an owner, a state or a name only from a record.

    The key of a record is `records` and its task id. A key of the index is a base, then `state` and a state, `name` and
    a task name, or `label` and the digest of a label. The base is `index` for all tasks; for one owner it is `owner`,
    the owner and `owner_end`.
    """

    records: str
    index: str
    owner: str
    owner_end: str
    state: str
    name: str
    label: str
    repairs: str
    calls: str
    claims: str
    stored: str

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
        label="label:",
        repairs=f"{prefix}task-status:repairs",
        calls=f"{prefix}task-status:call:",
        claims=f"{prefix}task-status:claim:",
        stored=f"{prefix}task-status:bytes:",
    )


class Keys(msgspec.Struct, frozen=True):
    """The name of every Redis key of kit and service, with Celery's `global_keyprefix` if one is set."""

    #: ends in one of `:_-.`, or is empty
    prefix: str = ""

    @classmethod
    def under(cls, global_keyprefix: str | None) -> "Keys":
        """Return the keys for a Celery `global_keyprefix`, which Celery joins with `_` unless it ends in one of `:_-.`.

        Source: celery/backends/base.py, KeyValueStoreBackend._add_global_keyprefix.
        """
        prefix = global_keyprefix or ""
        return cls(prefix if not prefix or prefix[-1] in ":_-." else prefix + "_")

    def meta(self, task_id: str) -> str:
        """Name the key, and the channel, of a task's meta in Celery's Redis backend."""
        return f"{self.prefix}celery-task-meta-{task_id}"

    def record(self, task_id: str) -> str:
        """Name the key, and the channel, of a task's record.

        After the record has expired, the key holds a tombstone, which is only the owner of the task. An expired task
        differs from an unknown one by its tombstone.
        """
        return f"{self.names.records}{task_id}"

    def call(self, task_id: str) -> str:
        """Name the key of a task's call, the submitted arguments, unless they fit into its record."""
        return f"{self.names.calls}{task_id}"

    def stored(self, owner: str) -> str:
        """Name the counter of the bytes that the records of an owner are charged with."""
        return f"{self.names.stored}{owner}"

    def resent(self, task_id: str) -> str:
        """Name the marker of a task whose message was sent again."""
        return f"{self.prefix}task-status:resent:{task_id}"

    def claim(self, owner: str, key: str) -> str:
        """Name the claim of an owner's Idempotency-Key; Redis stores only a digest of it.

        128 bits are enough, because the owner is part of the hashed text: to reach the claim of another owner, a client
        would need a second preimage. Two keys of one owner that collide harm only that owner.
        """
        digest = hashlib.sha256(f"{owner}\0{key}".encode()).digest()[:16]
        return f"{self.names.claims}{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"

    def task_of(self, key: str) -> str:
        """Return the task id of a key, or channel, that `meta` or `record` has named."""
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

    def index_by_label(self, name: str, text: str, owner: str | None = None) -> str:
        """Name the sorted set of the tasks with one label; members and `owner` as in `index_by_state`.

        The key has a digest, because both parts of a label are texts of clients.
        """
        names = self.names
        digest = hashlib.sha1(f"{name}\0{text}".encode(), usedforsecurity=False).hexdigest()
        return f"{names.base_of(owner)}{names.label}{digest}"

    @property
    def index_by_expiry(self) -> str:
        """Name the sorted set of the times at which records expire, in seconds since the epoch.

        For each member the key of the same name, a colon and the member holds a list of task ids.
        """
        return f"{self.names.index}expiry"

    @property
    def index_keys(self) -> str:
        """Name the sorted set of all keys of the index, by which a sweep finds them; all have the same score."""
        return f"{self.names.index}keys"

    @property
    def repairs(self) -> str:
        """Name the hash of keys that had another type and were deleted: key to type, kept for a day."""
        return self.names.repairs

    @property
    def names(self) -> "KeyNames":
        """The parts from which a script joins the keys of other tasks and owners."""
        return _names_under(self.prefix)

    @property
    def task_types(self) -> str:
        """Name the hash of announced task types: name to announcement."""
        return f"{self.prefix}task-status:task-types"

    @property
    def consumers(self) -> str:
        """Name the hash of consumers: worker instance to its task types and queues."""
        return f"{self.prefix}task-status:consumers"

    @property
    def workers(self) -> str:
        """Name the sorted set of worker instances by their last heartbeat, in seconds of the Redis clock."""
        return f"{self.prefix}task-status:workers"

    @property
    def epoch(self) -> str:
        """Name the key that identifies the data of this store: the time of its creation and a random part."""
        return f"{self.prefix}task-status:epoch"


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long records and their tombstones are kept; no write ever shortens it."""

    #: since the last write; longer than Celery's `result_expires`, whose default is one day
    record_seconds: int = 7 * 86_400
    #: after its record has expired, a task is reported as expired for this long, and then as unknown
    known_seconds: int = 30 * 86_400
