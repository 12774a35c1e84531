"""What was read last of each task, with its version and its status: most polls find what the poll before has found.

A status depends on what was read and on the settings, and on nothing else. So where a read finds what the last one
found, byte for byte, version and status are the same. What is kept is only ever compared, never believed.
"""

import hashlib
from typing import Final

import msgspec

from task_status_service.status import FinalStates, Snapshot, TaskStatus, decode
from task_status_service.version import VERSION

#: tasks that are remembered; one takes the place of another that falls on the same slot
SLOTS: Final = 4_096
#: bytes of a record and a meta above which nothing is remembered; an estimated 100 MB at the very most
MAX_BYTES: Final = 8_192


class _Seen(msgspec.Struct):
    snapshot: Snapshot
    version: str
    status: TaskStatus | None = None


class Recent:
    """Name and decode what was read, once for as long as it stays the same. Any number of threads may use it."""

    def __init__(self, final_states: FinalStates) -> None:
        self._final_states = final_states
        self._slots: list[_Seen | None] = [None] * SLOTS
        # What a status is decoded by besides what was read: the settings, and this version of the code.
        self._salt = hashlib.blake2b(repr((VERSION, sorted(final_states.items()))).encode(), digest_size=16)

    def version(self, snapshot: Snapshot) -> str:
        """Name what was read: another name whenever the status may be another one. Decodes nothing."""
        return self._seen(snapshot).version

    def status(self, snapshot: Snapshot) -> TaskStatus | None:
        """Decode what was read; None if nothing is stored. The same object may be given again: it is not to change."""
        seen = self._seen(snapshot)
        if seen.status is None:
            seen.status = decode(snapshot, final_states=self._final_states)
        return seen.status

    def _seen(self, snapshot: Snapshot) -> _Seen:
        slot = hash(snapshot.task_id) % SLOTS
        seen = self._slots[slot]
        if seen is None or seen.snapshot != snapshot:
            seen = _Seen(snapshot, self._digest(snapshot))
            if len(snapshot.meta or b"") + sum(map(len, snapshot.record.values())) <= MAX_BYTES:
                self._slots[slot] = seen
        return seen

    def _digest(self, snapshot: Snapshot) -> str:
        digest = self._salt.copy()
        # Sorted: Redis gives the fields of a large hash in an order of its own. As msgpack every length is told.
        digest.update(msgspec.msgpack.encode((sorted(snapshot.record.items()), snapshot.wrong_type, snapshot.meta)))
        return digest.hexdigest()
