"""Submissions in Redis: claims, calls and records, each written in one round trip by one script."""

import importlib.resources
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import redis
from task_status_worker.record.codec import NOTE_SCRIPT, note_call, script_of, unpack_answer
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Note

from task_status_service.errors import TooManyQueued
from task_status_service.status import TaskState
from task_status_service.store.errors import NamedErrors
from task_status_service.use_cases.resender import Unreceived
from task_status_service.use_cases.submission import (
    CLAIM_SECONDS,
    LEASE_SECONDS,
    Call,
    Claim,
    Claimed,
    Interrupted,
    Recorded,
)

_SCRIPTS: Final = importlib.resources.files(__package__) / "lua"
#: a prelude, and the script that writes all notes: the claim and the record are written together or not at all
_SUBMIT_SCRIPT: Final = _SCRIPTS.joinpath("submit.lua").read_text(encoding="utf-8") + NOTE_SCRIPT
_END_LEASE_SCRIPT: Final = _SCRIPTS.joinpath("end_lease.lua").read_text(encoding="utf-8")

_UNRECEIVED_SCRIPT: Final = script_of(_SCRIPTS.joinpath("unreceived.lua").read_text(encoding="utf-8"))

#: tasks that one search for lost messages reads; it occupies Redis for about 1 ms
LOOKED_AT: Final = 500

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(Call).decode


class SubmitHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of submit.lua, as JSON; the call and the arguments of note.lua follow."""

    #: the id of the submitted task, which also identifies the holder of the lease
    holder: str
    fingerprint: str
    call_seconds: int
    lease_seconds: int
    claim_seconds: int
    #: 0 means unlimited
    queued_limit: int
    #: the start of every record's key
    records: str


class EndLeaseHead(msgspec.Struct, frozen=True):
    """The first argument of end_lease.lua, as JSON; the answer follows."""

    holder: str


class UnreceivedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of unreceived.lua, as JSON."""

    #: rank in the index at which the search begins
    start: int
    #: number of tasks that the search reads
    count: int
    #: milliseconds since the message was due
    after_ms: int
    #: the start of every record's key
    records: str


class RedisSubmissionStore:
    """The submissions, in the Redis of the records."""

    def __init__(self, records: redis.Redis, *, keys: Keys, retention: Retention, queued_per_owner: int = 0) -> None:
        """Create a store of submissions.

        Args:
            records: the Redis of the records
            keys: the names of its keys
            retention: times for which records are stored
            queued_per_owner: limit of one owner's queued tasks; 0 means unlimited, as do tasks without an owner
        """
        self._queued_per_owner = queued_per_owner
        # redis-py types every command as sync or async.
        self._records: Any = records
        self._named_errors = NamedErrors(records)
        self._keys = keys
        self._retention = retention
        self._submit_script = records.register_script(_SUBMIT_SCRIPT)
        self._end_lease_script = records.register_script(_END_LEASE_SCRIPT)
        self._unreceived_script = records.register_script(_UNRECEIVED_SCRIPT)

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        """Claim the key, record the task and store its call, all or nothing.

        Leases expire by the Redis clock. A call is stored as long as a record without further notes.

        Raises:
            TooManyQueued: the owner has reached its limit of queued tasks.
        """
        note = note_call(submitted, keys=self._keys, retention=self._retention)
        counted = (TaskState.QUEUED, TaskState.CANCELING)
        keys = [
            *note.keys,
            self._keys.call(submitted.task_id),
            *(self._keys.index_by_state(state, submitted.owner) for state in counted),
        ]
        if claim:
            keys.append(self._keys.claim(claim.owner, claim.key))
        head = SubmitHead(
            holder=submitted.task_id,
            fingerprint=claim.fingerprint if claim else "",
            call_seconds=self._call_seconds(submitted.scheduled_for),
            lease_seconds=LEASE_SECONDS,
            claim_seconds=CLAIM_SECONDS,
            queued_limit=self._queued_per_owner if submitted.owner is not None else 0,
            records=self._keys.names.records,
        )
        with self._named_errors():
            found = self._submit_script(keys=keys, args=[_encode(head), _encode(call), *note.args])
        if found[0] == b"full":
            raise TooManyQueued
        if found[0] == b"interrupted":
            return Interrupted(found[1].decode())
        if found[0] == b"claimed":
            return Claimed(bool(found[1]), found[2] or None)
        return Recorded(unpack_answer(found).at)

    def _call_seconds(self, scheduled_for: datetime | None) -> int:
        waits_seconds = (scheduled_for - datetime.now(UTC)).total_seconds() if scheduled_for else 0
        return self._retention.record_seconds + max(0, round(waits_seconds))

    def claimed(self, claim: Claim) -> Claimed | None:
        """Return the claim of a key; None if it is not claimed."""
        with self._named_errors():
            fingerprint, answer = self._records.hmget(self._keys.claim(claim.owner, claim.key), "fingerprint", "answer")
        return Claimed(fingerprint == claim.fingerprint.encode(), answer) if fingerprint else None

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        """End the lease that the submission with the task id `holder` holds, and store its answer if there is one."""
        with self._named_errors():
            self._end_lease_script(
                keys=[self._keys.claim(claim.owner, claim.key)], args=[_encode(EndLeaseHead(holder)), answer or b""]
            )

    def unreceived(self, state: TaskState, *, start: int, after_seconds: float) -> tuple[int, list[Unreceived]]:
        """Search the next `LOOKED_AT` tasks of a state; return the next `start`, and the tasks no worker has received.

        `start` is a rank in the index. If tasks are added or removed meanwhile, a search may skip a few tasks, which a
        later one finds.
        """
        head = UnreceivedHead(
            start=start, count=LOOKED_AT, after_ms=round(after_seconds * 1000), records=self._keys.names.records
        )
        with self._named_errors():
            next_start, *found = self._unreceived_script(keys=[self._keys.index_by_state(state)], args=[_encode(head)])
        ones = zip(found[::3], found[1::3], found[2::3], strict=True)
        return next_start, [
            Unreceived(task_id.decode(), queue.decode("utf-8", "replace"), retries) for task_id, queue, retries in ones
        ]

    def mark_resent(self, task_id: str, *, seconds: float) -> bool:
        """Mark a task as resent for `seconds`; return False if it is marked already."""
        with self._named_errors():
            return bool(self._records.set(self._keys.resent(task_id), "", nx=True, px=round(seconds * 1000)))

    def call(self, task_id: str) -> Call | None:
        """Return the call of a task; None if it is not stored, or was written by an incompatible version."""
        with self._named_errors():
            stored = self._records.get(self._keys.call(task_id))
        try:
            return _decode_call(stored) if stored else None
        except msgspec.MsgspecError:
            return None
