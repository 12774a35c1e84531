"""The fakes behind the tracker's Protocols. They pass the same tests as Redis does: integration/test_store.py."""

from collections.abc import Mapping
from datetime import UTC, datetime

import note_model
from task_status_service.errors import BrokerUnavailable, StoreUnavailable
from task_status_service.status import MAX_STORED_BYTES, Snapshot
from task_status_service.tracker import Submission
from task_status_worker.record import Note


class MemoryStore:
    """Keep records and results in memory; `note` runs the model of note.lua."""

    def __init__(self) -> None:
        self.records: dict[str, dict[bytes, bytes]] = {}
        self.known: set[str] = set()
        self.metas: dict[str, bytes | list[bytes]] = {}
        self.announced: dict[bytes, bytes] = {}
        self.worker_seen: float | None = None
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.down = False
        self.trips = 0

    def _trip(self) -> None:
        if self.down:
            raise StoreUnavailable
        self.trips += 1

    def read(self, task_id: str) -> Snapshot:
        self._trip()
        meta = self.metas.get(task_id)
        return Snapshot(
            task_id=task_id,
            record=dict(self.records.get(task_id, {})),
            meta=meta[: MAX_STORED_BYTES + 1] or None if isinstance(meta, bytes) else None,
            wrong_type=isinstance(meta, list),
            known=task_id in self.known,
        )

    def note(self, note: Note) -> datetime:
        self._trip()
        now_ms = round(self.time.timestamp() * 1000)
        self.records[note.task_id] = note_model.apply(self.records.get(note.task_id, {}), note, now_ms)
        self.known.add(note.task_id)
        return self.time

    def announcements(self) -> tuple[float, Mapping[bytes, bytes]]:
        self._trip()
        return self.time.timestamp(), self.announced

    def worker_seen_seconds(self) -> float | None:
        self._trip()
        return self.worker_seen


class MemoryBroker:
    """Remember what was sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Submission, str]] = []
        self.down = False

    def send(self, task_id: str, submission: Submission, *, queue: str) -> None:
        if self.down:
            raise BrokerUnavailable
        self.sent.append((task_id, submission, queue))

    def check(self) -> None:
        if self.down:
            raise BrokerUnavailable
