"""Decode each version of a status once: what was read, its name, and what it says.

Most of those who poll, list or watch a task find it as the one before did, whoever that was. A version names all that
a status is decoded from, so what it said once can be said again, by anyone, without decoding or encoding.
"""

import hashlib
from typing import Final

import msgspec

from task_status_service.status import MAX_INLINE_SIZE, FinalStates, Snapshot, TaskStatus, Visibility, decode
from task_status_service.version import VERSION

#: statuses that one process remembers, and how many bytes of JSON each may have: 32 MiB, if all are that long
MAX_REMEMBERED: Final = 4_096
MAX_REMEMBERED_BYTES: Final = 8_192

_CUT: Final = frozenset({"result_too_large", "truncated_text"})

_encode = msgspec.json.Encoder().encode


class CachedStatus(msgspec.Struct, frozen=True):
    """Hold a status, the version of what it was decoded from, and its JSON."""

    version: str
    status: TaskStatus
    body: bytes


class StatusCache:
    """Decode for one view, by some settings. Safe in threads and greenlets: what two decode at once is the same."""

    def __init__(self, final_states: FinalStates, view: Visibility) -> None:
        self._final_states = final_states
        self.view = view
        # What a status is decoded by besides what was read: the settings, the view, and this version of the code. So
        # whoever may suddenly see more, or less, is not told that nothing has changed.
        decoded_by = (VERSION, view.value, sorted(final_states.items()))
        self._salt = hashlib.blake2b(repr(decoded_by).encode(), digest_size=16)
        self._remembered: dict[str, CachedStatus] = {}

    def version(self, snapshot: Snapshot) -> str:
        """Name what was read: another name whenever the status may be another one. Decodes nothing."""
        digest = self._salt.copy()
        # Sorted: Redis gives the fields of a large hash in an order of its own. As msgpack every length is told.
        items = sorted(snapshot.record.items())
        read = (snapshot.task_id, items, snapshot.wrong_type, snapshot.meta, snapshot.liveness)
        digest.update(msgspec.msgpack.encode(read))
        return digest.hexdigest()

    def decoded(
        self, snapshot: Snapshot, *, version: str | None = None, inline_size: int = MAX_INLINE_SIZE
    ) -> CachedStatus | None:
        """Give the status of what was read, results of more than `inline_size` characters left out; None of nothing.

        `version` is that of the snapshot, for whoever has it already.
        """
        version = version or self.version(snapshot)
        # What is remembered is so short that no limit left anything out.
        return self._remembered.get(version) or self._decode(snapshot, version, inline_size)

    def _decode(self, snapshot: Snapshot, version: str, inline_size: int) -> CachedStatus | None:
        status = decode(snapshot, final_states=self._final_states, inline_size=inline_size, view=self.view)
        if status is None:
            return None
        decoded = CachedStatus(version, status, _encode(status))
        if len(decoded.body) <= MAX_REMEMBERED_BYTES and not _is_cut(status):
            self._remember(decoded)
        return decoded

    def _remember(self, decoded: CachedStatus) -> None:
        remembered = self._remembered
        while len(remembered) >= MAX_REMEMBERED:
            # The oldest; another thread may have dropped it just now.
            remembered.pop(next(iter(remembered)), None)
        remembered[decoded.version] = decoded


def _is_cut(status: TaskStatus) -> bool:
    """Tell whether something was left out or cut: another limit may do so otherwise."""
    return not _CUT.isdisjoint(diagnostic.code for diagnostic in status.diagnostics)
