"""Cache decoded statuses, so that each version of a status is decoded and encoded once.

Most reads of a task find it unchanged. A version is a hash of all inputs of a status, so statuses with the same version
are equal, and all clients of one visibility can share them.
"""

import hashlib
from typing import Final

import msgspec

from task_status_service.status import MAX_INLINE_SIZE, FinalStates, Snapshot, TaskStatus, Visibility, decode
from task_status_service.version import VERSION

#: statuses that one process caches, and the most bytes of JSON of each: at most 32 MiB
MAX_CACHED: Final = 4_096
MAX_CACHED_BYTES: Final = 8_192

_CUT: Final = frozenset({"result_too_large", "truncated_text"})

_encode = msgspec.json.Encoder().encode


class CachedStatus(msgspec.Struct, frozen=True):
    """A status, its version, and its JSON."""

    version: str
    status: TaskStatus
    body: bytes


class StatusCache:
    """The cached statuses of one visibility. Safe in threads and greenlets: two concurrent decodings are equal."""

    def __init__(self, final_states: FinalStates, view: Visibility) -> None:
        self._final_states = final_states
        self.view = view
        # A status also depends on the settings, the visibility and this version of the code. Without them in the hash,
        # a client could get 304 although it may now see more, or less.
        decoded_by = (VERSION, view.value, sorted(final_states.items()))
        self._salt = hashlib.blake2b(repr(decoded_by).encode(), digest_size=16)
        self._cached: dict[str, CachedStatus] = {}

    def version(self, snapshot: Snapshot) -> str:
        """Return a hash that differs whenever the status may differ. Decodes nothing."""
        digest = self._salt.copy()
        # Sorted: Redis returns the fields of a large hash in any order. msgpack includes lengths, so it is unambiguous.
        items = sorted(snapshot.record.items())
        read = (snapshot.task_id, items, snapshot.wrong_type, snapshot.meta, snapshot.liveness)
        digest.update(msgspec.msgpack.encode(read))
        return digest.hexdigest()

    def decoded(
        self, snapshot: Snapshot, *, version: str | None = None, inline_size: int = MAX_INLINE_SIZE
    ) -> CachedStatus | None:
        """Return the status of a snapshot; None if nothing is stored.

        Results of more than `inline_size` characters are omitted. A known `version` of the snapshot saves its hashing.
        """
        version = version or self.version(snapshot)
        # Cached statuses are so short that no `inline_size` omits anything.
        return self._cached.get(version) or self._decode(snapshot, version, inline_size)

    def _decode(self, snapshot: Snapshot, version: str, inline_size: int) -> CachedStatus | None:
        status = decode(snapshot, final_states=self._final_states, inline_size=inline_size, view=self.view)
        if status is None:
            return None
        decoded = CachedStatus(version, status, _encode(status))
        if len(decoded.body) <= MAX_CACHED_BYTES and not _is_cut(status):
            self._store(decoded)
        return decoded

    def _store(self, decoded: CachedStatus) -> None:
        cached = self._cached
        while len(cached) >= MAX_CACHED:
            # Removes the oldest, unless another thread has just removed it.
            cached.pop(next(iter(cached)), None)
        cached[decoded.version] = decoded


def _is_cut(status: TaskStatus) -> bool:
    """Return whether a value was omitted or cut: with another limit the status may differ."""
    return not _CUT.isdisjoint(diagnostic.code for diagnostic in status.diagnostics)
