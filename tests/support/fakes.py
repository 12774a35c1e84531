"""Fakes of the Protocols that the use cases need. Each fake passes the same tests as the real part."""

import functools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from task_status_service.access.watch_limits import Places, WatchLimit
from task_status_service.errors import BrokerUnavailable, QuotaExceeded, StoreFull, StoreUnavailable, TooManyQueued
from task_status_service.status import MAX_STORED_BYTES, Snapshot, TaskState
from task_status_service.store.packed_calls import pack_call
from task_status_service.store.stored_bytes import charge_of
from task_status_service.task_types.catalog import Announcements
from task_status_service.use_cases.listing import MAX_LOOKED_AT, Filter, IndexPage, Position
from task_status_service.use_cases.readiness import StoreReport
from task_status_service.use_cases.resender import Unreceived
from task_status_service.use_cases.submission import (
    CLAIM_SECONDS,
    LEASE_SECONDS,
    Call,
    Claim,
    Claimed,
    Interrupted,
    Recorded,
    Submission,
)
from task_status_worker.record.codec import unpack
from task_status_worker.record.model import Fact, Note, Record

from support import note_model


class StoredClaim(msgspec.Struct):
    """A claim as the store keeps it."""

    task_id: str
    fingerprint: bytes
    holder: str
    leased_until: datetime
    until: datetime
    answer: bytes | None = None


class MemoryStore:
    """A store of records, results and submissions in memory; `note` runs the model of note.lua."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.records: dict[str, dict[bytes, bytes]] = {}
        self.known: set[str] = set()
        #: owner of each known task
        self.owners: dict[str, bytes] = {}
        self.metas: dict[str, bytes | list[bytes]] = {}
        self.calls: dict[str, Call] = {}
        self.claims: dict[tuple[str, str], StoredClaim] = {}
        self.resent: dict[str, datetime] = {}
        self.announced: dict[bytes, bytes] = {}
        #: consumer entry of each live worker instance
        self.consumer_entries: dict[str, bytes] = {}
        #: the store has more announcements than it returns
        self.is_complete = True
        self.worker_seen: float | None = None
        self.queued_per_owner = 0
        self.stored_bytes_per_owner = 0
        self.arguments_seconds = 86_400
        self.epoch: str | None = "2026-01-02T03:04:05Z/9f2c61ab"
        self.durability_warnings: list[str] = []
        self.warnings: list[str] = []
        self.time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.down = False
        #: for operators: why it is down
        self.cause: str | None = None
        self.full = False
        self.trips = 0
        #: seconds since the last heartbeat, for the workers of all running tasks
        self.seconds_since_heartbeat: float | None = None

    def _trip(self) -> None:
        if self.down:
            raise StoreUnavailable(cause=self.cause)
        self.trips += 1

    def read(self, task_id: str) -> Snapshot:
        self._trip()
        return self._snapshot(task_id)

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        if not task_ids:
            return iter(())
        self._trip()
        return map(self._snapshot, task_ids)

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        self._trip()
        indexed = [self._indexed(record, task_id) for task_id, record in self.records.items()]
        begins_after = (after.at_ms, after.task_id.encode("utf-8", "surrogateescape")) if after else (float("inf"), b"")
        waiting = sorted(
            (one for one in indexed if (one.at_ms, one.task_id.encode()) < begins_after and _is_within(one, wanted)),
            key=lambda one: (one.at_ms, one.task_id.encode()),
            reverse=True,
        )
        # page.lua walks the rarest condition, and checks the others for a limited number of tasks.
        conditions = _conditions(wanted)
        sizes = [sum(fits(one) for one in indexed if _is_within(one, wanted)) for fits in conditions]
        rarest = conditions.pop(sizes.index(min(sizes)))
        waiting = [one for one in waiting if rarest(one)]
        most = MAX_LOOKED_AT if conditions else len(waiting)
        found: list[str] = []
        for looked, one in enumerate(waiting):
            if len(found) == limit or looked == most:
                before = waiting[looked - 1]
                return IndexPage(found, Position(before.at_ms, before.task_id))
            if all(fits(one) for fits in conditions):
                found.append(one.task_id)
        return IndexPage(found, None)

    def _indexed(self, stored: dict[bytes, bytes], task_id: str) -> "Indexed":
        return Indexed(
            int(stored[b"indexed_at"]),
            task_id,
            stored[b"indexed_as"].decode(),
            stored.get(b"name", b"").decode(),
            stored.get(b"owner", b"").decode(),
            msgspec.json.decode(stored.get(b"labels", b"{}")),
        )

    def _snapshot(self, task_id: str) -> Snapshot:
        meta, record = self.metas.get(task_id), dict(self.records.get(task_id, {}))
        return Snapshot(
            task_id=task_id,
            record=record,
            meta=meta[: MAX_STORED_BYTES + 1] or None if isinstance(meta, bytes) else None,
            wrong_type=isinstance(meta, list),
            known=task_id in self.known,
            known_owner=b"" if record else self.owners.get(task_id, b""),
            seconds_since_heartbeat=self.seconds_since_heartbeat if self._is_running(task_id) else None,
        )

    def _is_running(self, task_id: str) -> bool:
        record = self.records.get(task_id, {})
        return record.get(b"fact") == b"STARTED" and b"instance" in record

    def mark_failed(self, note: Note, found: Snapshot, *, lost_after_seconds: float) -> bool:
        now = self._snapshot(note.task_id)
        has_moved_on = (now.record.get(b"seq"), now.meta) != (found.record.get(b"seq"), found.meta)
        if has_moved_on or (now.seconds_since_heartbeat or 0.0) < lost_after_seconds:
            self._trip()
            return False
        self.note(note)
        return True

    def note(self, note: Note) -> datetime:
        self._trip()
        return self._note(note)

    def _note(self, note: Note) -> datetime:
        if self.full:
            raise StoreFull
        now_ms = round(self.time.timestamp() * 1000)
        known_owner = self.owners.get(note.task_id, b"")
        record, _ = note_model.apply(self.records.get(note.task_id, {}), note, now_ms, known_owner)
        self.records[note.task_id] = record
        self.known.add(note.task_id)
        self.owners[note.task_id] = record.get(b"owner", b"")
        return self.time

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        self._trip()
        leased_until = self.time + timedelta(seconds=LEASE_SECONDS)
        if claim:
            kept = self._kept(claim)
            if kept and not kept.answer and kept.holder == submitted.task_id:
                record = unpack(self.records.get(submitted.task_id, {}))
                return Recorded(record.submitted_at) if record else Interrupted(kept.task_id)
            if kept:
                is_same = kept.fingerprint == claim.fingerprint
                if not is_same or kept.answer or kept.leased_until > self.time:
                    return Claimed(is_same, kept.task_id, kept.answer)
                kept.holder, kept.leased_until = submitted.task_id, leased_until
                return Interrupted(kept.task_id)
        self._raise_if_full(submitted)
        self._raise_if_over_quota(submitted, call)
        if claim:
            until = self.time + timedelta(seconds=CLAIM_SECONDS)
            self.claims[claim.owner, claim.key] = StoredClaim(
                submitted.task_id, claim.fingerprint, submitted.task_id, leased_until, until
            )
        self.calls[submitted.task_id] = call
        return Recorded(self._note(submitted))

    def _raise_if_full(self, submitted: Note) -> None:
        if not self.queued_per_owner or submitted.owner is None or submitted.task_id in self.records:
            return
        indexed = [self._indexed(record, task_id) for task_id, record in self.records.items()]
        waiting = [one for one in indexed if one.owner == submitted.owner and one.state in ("queued", "canceling")]
        if len(waiting) >= self.queued_per_owner:
            raise TooManyQueued

    def _raise_if_over_quota(self, submitted: Note, call: Call) -> None:
        """Count each task as the submitted one, and give nothing back when a task is done."""
        if not self.stored_bytes_per_owner or submitted.owner is None or submitted.task_id in self.records:
            return
        owners = [record.get(b"owner") for record in self.records.values()]
        charged = charge_of(submitted, pack_call(call), holds_message=False).total
        stored = charged * owners.count(submitted.owner.encode())
        if stored + charged > self.stored_bytes_per_owner:
            raise QuotaExceeded(stored=stored, limit=self.stored_bytes_per_owner)

    def _kept(self, claim: Claim) -> StoredClaim | None:
        kept = self.claims.get((claim.owner, claim.key))
        return kept if kept and kept.until > self.time else None

    def claimed(self, claim: Claim) -> Claimed | None:
        self._trip()
        kept = self._kept(claim)
        return Claimed(kept.fingerprint == claim.fingerprint, kept.task_id, kept.answer) if kept else None

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        self._trip()
        kept = self._kept(claim)
        if kept and kept.holder == holder and not kept.answer:
            kept.leased_until, kept.holder, kept.answer = self.time, kept.task_id, answer

    def call(self, task_id: str) -> Call | None:
        self._trip()
        record = unpack(self.records.get(task_id, {}))
        if record and record.final and record.finished_at:
            until = record.finished_at + timedelta(seconds=self.arguments_seconds)
            return self.calls.get(task_id) if until > self.time else None
        return self.calls.get(task_id)

    def unreceived(self, state: TaskState, *, start: int, after_seconds: float) -> tuple[int, list[Unreceived]]:
        self._trip()
        found = []
        for task_id, stored in self.records.items():
            record = unpack(stored)
            if record is None or stored[b"indexed_as"].decode() != state or not _is_waiting(record):
                continue
            times = (record.updated_at, record.scheduled_for, record.next_retry_at)
            sent_at = max(moment for moment in times if moment is not None)
            if record.queue and (self.time - sent_at).total_seconds() > after_seconds:
                retries = record.attempt + (record.fact is Fact.RETRYING)
                found.append(Unreceived(task_id, record.queue, retries))
        return 0, found[start:]

    def mark_resent(self, task_id: str, *, seconds: float) -> bool:
        self._trip()
        if self.resent.get(task_id, self.time) > self.time:
            return False
        self.resent[task_id] = self.time + timedelta(seconds=seconds)
        return True

    def forget(self, done: Snapshot) -> bool:
        self._trip()
        record = self.records.get(done.task_id, {})
        if record.get(b"final") != b"1" and record.get(b"seq") != done.record.get(b"seq"):
            return False
        for kept in (self.records, self.metas, self.calls, self.owners):
            kept.pop(done.task_id, None)
        self.known.discard(done.task_id)
        return True

    def announcement(self, name: str) -> tuple[float, bytes | None]:
        self._trip()
        return self.time.timestamp(), self.announced.get(name.encode())

    def announcements(self) -> Announcements:
        self._trip()
        stored = [self.announced[name] for name in sorted(self.announced)]
        return Announcements(self.time.timestamp(), stored, is_complete=self.is_complete)

    def consumers(self) -> Sequence[bytes]:
        self._trip()
        return list(self.consumer_entries.values())

    def report(self) -> StoreReport:
        self._trip()
        return StoreReport(
            worker_seen_seconds=self.worker_seen,
            epoch=self.epoch,
            durability_warnings=self.durability_warnings,
            warnings=self.warnings,
        )


class Indexed(msgspec.Struct, frozen=True):
    """The fields of one task by which lists filter and sort."""

    at_ms: int
    task_id: str
    state: str
    name: str
    owner: str
    labels: dict[str, str]


def _is_within(one: Indexed, wanted: Filter) -> bool:
    after, before = wanted.submitted_after, wanted.submitted_before
    return (
        wanted.owner in (None, one.owner)
        and (after is None or one.at_ms >= after.timestamp() * 1000)
        and (before is None or one.at_ms < before.timestamp() * 1000)
    )


def _conditions(wanted: Filter) -> list[Callable[[Indexed], bool]]:
    """Return the conditions of a filter, each of which the index can answer; at least one."""
    conditions: list[Callable[[Indexed], bool]] = []
    if wanted.states or not (wanted.name or wanted.labels):
        conditions.append(lambda one: not wanted.states or one.state in wanted.states)
    if wanted.name:
        conditions.append(lambda one: one.name == wanted.name)
    conditions += [functools.partial(_has_label, label) for label in wanted.labels.items()]
    return conditions


def _has_label(label: tuple[str, str], one: Indexed) -> bool:
    return label in one.labels.items()


def _is_waiting(record: Record) -> bool:
    is_ours = not (record.send_unconfirmed or record.cancel_requested or record.call_changed or record.generation)
    return is_ours and record.fact in (Fact.SUBMITTED, Fact.REQUEUED, Fact.RETRYING)


class MemoryBroker:
    """A broker that keeps the sent messages."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.sent: list[tuple[str, Submission, str]] = []
        #: number of earlier attempts of each sent task
        self.retries: list[int] = []
        #: number of messages that no worker has received, by queue
        self.queued: dict[str, int] = {}
        self.canceled: list[tuple[str, bool, str | None]] = []
        self.down = False
        self.full = False

    def send(self, task_id: str, submission: Submission, *, queue: str, retries: int = 0) -> None:
        self.check()
        if self.full:
            raise StoreFull
        self.sent.append((task_id, submission, queue))
        self.retries.append(retries)

    def waiting(self, queue: str) -> int:
        self.check()
        return self.queued.get(queue, 0)

    def cancel(self, task_id: str, *, terminate: bool, worker: str | None) -> None:
        if self.down:
            raise BrokerUnavailable
        self.canceled.append((task_id, terminate, worker))

    def check(self) -> None:
        if self.down:
            raise BrokerUnavailable


class MemoryFeed:
    """A feed that runs the next step of a script on each wait, and reports a change after each step."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.script: list[Callable[[], object]] = []
        self.watches: list[MemoryWatch] = []
        self.places = Places(100)
        self.is_closed = False

    def watch(self, task_ids: Collection[str], *, limits: Sequence[WatchLimit]) -> "MemoryWatch":
        self.places.take(limits)
        watch = MemoryWatch(self, task_ids, limits)
        self.watches.append(watch)
        return watch

    def close(self) -> None:
        self.is_closed = True


class MemoryWatch:
    """A watch of a `MemoryFeed`."""

    def __init__(self, feed: MemoryFeed, task_ids: Collection[str], limits: Sequence[WatchLimit]) -> None:
        self.feed = feed
        self.limits = limits
        self.task_ids = set(task_ids)

    def changed(self, seconds: float) -> set[str]:
        if not self.feed.script:
            time.sleep(min(seconds, 0.01))
            return set()
        self.feed.script.pop(0)()
        return set(self.task_ids)

    @property
    def is_over(self) -> bool:
        return self.feed.is_closed

    def close(self) -> None:
        if self in self.feed.watches:
            self.feed.watches.remove(self)
            self.feed.places.free(self.limits)
