"""Cache decoded statuses, so that each version of a status is decoded and encoded once.

Most reads of a task find it unchanged. A version is a hash of all inputs of a status, so statuses with the same version
are equal, and all clients of one visibility can share them. A status with an omitted value is cached too: to find that
a value is too large takes as long as to read a large one.
"""

import contextlib
import functools
import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final

import msgspec

from task_status_service.status import INLINE, Budget, FinalStates, Limits, Snapshot, TaskStatus, Visibility, decode
from task_status_service.version import VERSION

#: memory of the statuses that one process caches, per visibility, and of one status
MAX_CACHED_BYTES: Final = 32 * 1024 * 1024
MAX_STATUS_BYTES: Final = 4 * 1024 * 1024
#: stored bytes that may take long to decode: one such value is decoded at a time
LARGE_BYTES: Final = 4_096

#: memory of a status and its entry, without its texts
_BYTES_PER_STATUS: Final = 3_000
#: bytes of memory for one byte of JSON: the body, and the values beside it
_BYTES_PER_BYTE: Final = 3
_CUT: Final = frozenset({"result_too_large", "truncated_text", "children_truncated", "too_large"})

_encode = msgspec.json.Encoder().encode


class CachedStatus(msgspec.Struct, frozen=True):
    """A status, its version, and its JSON. Its objects and lists of any shape are JSON too: `msgspec.Raw`."""

    version: str
    status: TaskStatus
    body: bytes

    @property
    def memory_bytes(self) -> int:
        """Return about the memory that it takes."""
        return _BYTES_PER_STATUS + _BYTES_PER_BYTE * len(self.body)


#: a version, and the limits with which a value was cut; None if any limits give the same status
_Key = tuple[str, Limits | None]


class StatusCache:
    """The cached statuses of one visibility. Safe in threads and greenlets: two concurrent decodings are equal."""

    def __init__(
        self,
        final_states: FinalStates,
        view: Visibility,
        *,
        turn: AbstractContextManager[Any] | None = None,
        pause: Callable[[], None] | None = None,
    ) -> None:
        """Create an empty cache.

        Args:
            final_states: custom Celery states that end a task.
            view: the visibility.
            turn: a lock during the decoding of a large value, so that the delays of concurrent requests do not add up.
            pause: lets other requests run; called between parts of a long decoding.
        """
        self._final_states = final_states
        self.view = view
        self._turn = turn or contextlib.nullcontext()
        self.new_budget: Callable[..., Budget] = functools.partial(Budget, pause=pause) if pause else Budget
        # A status also depends on the settings, the visibility and this version of the code. Without them in the hash,
        # a client could get 304 although it may now see more, or less.
        decoded_by = (VERSION, view.value, sorted(final_states.items()))
        self._salt = hashlib.blake2b(repr(decoded_by).encode(), digest_size=16)
        self._cached: dict[_Key, CachedStatus] = {}
        self._memory_bytes = 0

    def version(self, snapshot: Snapshot) -> str:
        """Return a hash that differs whenever the status may differ. Decodes nothing."""
        digest = self._salt.copy()
        # Sorted: Redis returns the fields of a large hash in any order. msgpack includes lengths, so it is unambiguous.
        items = sorted(snapshot.record.items())
        read = (snapshot.task_id, items, snapshot.wrong_type, snapshot.meta, snapshot.liveness)
        digest.update(msgspec.msgpack.encode(read))
        return digest.hexdigest()

    def decoded(
        self,
        snapshot: Snapshot,
        *,
        version: str | None = None,
        limits: Limits = INLINE,
        budget: Budget | None = None,
    ) -> CachedStatus | None:
        """Return the status of a snapshot; None if nothing is stored.

        A result over the `limits`, or over the `budget` of several tasks, is omitted. A known `version` of the snapshot
        saves its hashing.
        """
        version = version or self.version(snapshot)
        found = self._cached.get((version, None))
        if found is not None:
            return found
        budget = budget or self.new_budget(limits)
        if len(snapshot.meta or b"") <= LARGE_BYTES and not (snapshot.meta or b"").startswith(b"\x00"):
            return self._cached.get((version, budget.each)) or self._decode(snapshot, version, budget)
        with self._turn:
            return (
                self._cached.get((version, None))
                or self._cached.get((version, budget.each))
                or self._decode(snapshot, version, budget)
            )

    def _decode(self, snapshot: Snapshot, version: str, budget: Budget) -> CachedStatus | None:
        status = decode(snapshot, final_states=self._final_states, budget=budget, view=self.view)
        if status is None:
            return None
        status = _compact(status)
        decoded = CachedStatus(version, status, _encode(status))
        is_cut = not _CUT.isdisjoint(diagnostic.code for diagnostic in status.diagnostics)
        # A value that is cut because the values before it have spent the budget is read as a whole the next time.
        if not (is_cut and budget.is_short):
            self._store((version, budget.each if is_cut else None), decoded)
        return decoded

    def _store(self, key: _Key, decoded: CachedStatus) -> None:
        if decoded.memory_bytes > MAX_STATUS_BYTES:
            return
        cached = self._cached
        self._memory_bytes += decoded.memory_bytes - _memory_of(cached.pop(key, None))
        cached[key] = decoded
        while cached and self._memory_bytes > MAX_CACHED_BYTES:
            self._memory_bytes -= _memory_of(cached.pop(next(iter(cached)), None))


def _memory_of(removed: CachedStatus | None) -> int:
    """Return the memory of a removed status; none if another thread has just removed it."""
    return 0 if removed is None else removed.memory_bytes


def _compact(status: TaskStatus) -> TaskStatus:
    """Return a status whose objects and lists of any shape are JSON: as Python objects they take up to 30 times more.

    Only those that a task stored: the fields of a status stay objects.
    """
    changes: dict[str, Any] = {}
    if isinstance(status.result, dict | list):
        changes["result"] = msgspec.Raw(_encode(status.result))
    if isinstance(status.meta, dict | list):
        changes["meta"] = msgspec.Raw(_encode(status.meta))
    failure = status.failure
    if failure is not None and isinstance(failure.details, dict | list):
        changes["failure"] = msgspec.structs.replace(failure, details=msgspec.Raw(_encode(failure.details)))
    return msgspec.structs.replace(status, **changes) if changes else status
