"""Submissions in Redis: claims, calls and records, each written in one round trip by one script."""

import importlib.resources
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import redis
from task_status_worker.record.codec import (
    FIELDS,
    note_call,
    note_script_after,
    script_of,
    time_of_ms,
    unpack_answer,
    unpack_seconds,
)
from task_status_worker.record.keys import KeyNames, Keys, Retention
from task_status_worker.record.model import Note

from task_status_service.errors import QuotaExceeded, TooManyQueued
from task_status_service.status import TaskState
from task_status_service.store.errors import NamedErrors, is_wrong_type
from task_status_service.store.packed_calls import pack_call, unpack_call
from task_status_service.store.stored_bytes import SMALL_BYTES, charge_of
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
_SUBMIT_SCRIPT: Final = note_script_after(_SCRIPTS.joinpath("submit.lua").read_text(encoding="utf-8"))
_END_LEASE_SCRIPT: Final = _SCRIPTS.joinpath("end_lease.lua").read_text(encoding="utf-8")

_UNRECEIVED_SCRIPT: Final = script_of(_SCRIPTS.joinpath("unreceived.lua").read_text(encoding="utf-8"))

#: tasks that one search for lost messages reads; it occupies Redis for about 1 ms
LOOKED_AT: Final = 500

#: limit of the parts of an answer; 128 fields are the lowest default of hash-max-listpack-entries
MAX_PARTS: Final = 64

#: fields of a record that make up its call
_OF_CALL: Final = tuple(FIELDS[name] for name in ("call", "name", "queue", "final", "finished_at", "valid_until"))

_encode = msgspec.json.Encoder().encode


#: time after its end for which the call of a task is stored, unless a setting changes it
ARGUMENTS_SECONDS: Final = 86_400
#: the key of a record lives longer than its tombstone by an hour (shared.lua), and its counter still longer
_SPARE_SECONDS: Final = 7_200


class OwnerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one owner; 0 means unlimited."""

    queued_tasks: int = 0
    #: for records, index, calls, and messages in the same Redis
    stored_bytes: int = 0


_UNLIMITED: Final = OwnerLimits()


class SubmitHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of submit.lua, as JSON; the fingerprint, the call and the arguments of note.lua follow."""

    #: the id of the submitted task, which also identifies the holder of the lease
    holder: str
    owner: str
    call_seconds: int
    lease_seconds: int
    claim_seconds: int
    #: 0 means unlimited
    queued_limit: int
    #: limit of the bytes that the owner is charged with; 0 means unlimited
    stored_limit: int
    #: bytes that the owner is charged with for this submission
    charged: int
    #: TTL of the counter of these bytes
    counter_seconds: int
    names: KeyNames


class EndLeaseHead(msgspec.Struct, frozen=True):
    """The first argument of end_lease.lua, as JSON; the parts of the answer follow."""

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

    def __init__(
        self,
        records: redis.Redis,
        *,
        keys: Keys,
        retention: Retention,
        limits: OwnerLimits = _UNLIMITED,
        arguments_seconds: int = ARGUMENTS_SECONDS,
        holds_messages: bool = False,
    ) -> None:
        """Create a store of submissions.

        Args:
            records: the Redis of the records
            keys: the names of its keys
            retention: times for which records are stored
            limits: limits of one owner; tasks without an owner have none
            arguments_seconds: time after its end for which the call of a task is stored, at most as long as its record
            holds_messages: the broker is in the same Redis, so that an owner is charged for the messages
        """
        self._limits = limits
        self._arguments_seconds = min(arguments_seconds, retention.record_seconds)
        self._holds_messages = holds_messages
        # redis-py types every command as sync or async.
        self._records: Any = records
        self._keys = keys
        self._retention = retention
        self._named_errors = NamedErrors(records)
        self._submit_script = records.register_script(_SUBMIT_SCRIPT)
        self._end_lease_script = records.register_script(_END_LEASE_SCRIPT)
        self._unreceived_script = records.register_script(_UNRECEIVED_SCRIPT)

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        """Claim the key, record the task and store its call, all or nothing.

        Leases expire by the Redis clock. A call is stored as long as a record without further notes. A small call is a
        field of the record.

        Raises:
            TooManyQueued: the owner has reached its limit of queued tasks.
            QuotaExceeded: the owner has reached its limit of stored bytes.
        """
        packed_call = pack_call(call)
        is_small = len(packed_call) <= SMALL_BYTES
        life_seconds = self._life_seconds(submitted.scheduled_for)
        claim_key = self._keys.claim(claim.owner, claim.key) if claim else ""
        is_limited = submitted.owner is not None and self._limits.stored_bytes > 0
        charge = charge_of(submitted, packed_call, holds_message=self._holds_messages)
        submitted = msgspec.structs.replace(
            submitted,
            call=packed_call if is_small else None,
            # Without it, `call` decides.
            arguments_seconds=None if is_small and self._arguments_seconds else self._arguments_seconds,
            charged=charge.packed if is_limited else None,
            claim=claim_key.removeprefix(self._keys.names.claims) if claim and life_seconds < CLAIM_SECONDS else None,
        )
        note = note_call(submitted, keys=self._keys, retention=self._retention)
        counted = (TaskState.QUEUED, TaskState.CANCELING)
        keys = [
            *note.keys,
            self._keys.call(submitted.task_id),
            *(self._keys.index_by_state(state, submitted.owner) for state in counted),
        ]
        if claim:
            keys.append(claim_key)
        head = SubmitHead(
            holder=submitted.task_id,
            owner=submitted.owner or "",
            call_seconds=life_seconds,
            lease_seconds=LEASE_SECONDS,
            # A record that lives for a shorter time extends its claim.
            claim_seconds=min(CLAIM_SECONDS, life_seconds),
            queued_limit=self._limits.queued_tasks if submitted.owner is not None else 0,
            stored_limit=self._limits.stored_bytes if is_limited else 0,
            charged=charge.total,
            counter_seconds=life_seconds + self._retention.known_seconds + _SPARE_SECONDS,
            names=self._keys.names,
        )
        fingerprint = claim.fingerprint if claim else b""
        with self._named_errors():
            found = self._submit_script(
                keys=keys, args=[_encode(head), fingerprint, b"" if is_small else packed_call, *note.args]
            )
        if found[0] == b"full":
            raise TooManyQueued
        if found[0] == b"over quota":
            raise QuotaExceeded(stored=found[1], limit=self._limits.stored_bytes)
        if found[0] == b"interrupted":
            return Interrupted(found[1].decode())
        if found[0] == b"recorded":
            return Recorded(time_of_ms(found[1]))
        if found[0] == b"claimed":
            return _claimed(dict(zip(found[1][::2], found[1][1::2], strict=True)), fingerprint)
        return Recorded(unpack_answer(found).at)

    def _life_seconds(self, scheduled_for: datetime | None) -> int:
        waits_seconds = (scheduled_for - datetime.now(UTC)).total_seconds() if scheduled_for else 0
        return self._retention.record_seconds + max(0, round(waits_seconds))

    def claimed(self, claim: Claim) -> Claimed | None:
        """Return the claim of a key; None if it is not claimed."""
        with self._named_errors():
            try:
                stored = self._records.hgetall(self._keys.claim(claim.owner, claim.key))
            except redis.ResponseError as error:
                if not is_wrong_type(error):
                    raise
                stored = {}
        return _claimed(stored, claim.fingerprint) if stored else None

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        """End the lease that the submission with the task id `holder` holds, and store its answer if there is one."""
        key = self._keys.claim(claim.owner, claim.key)
        with self._named_errors():
            self._end_lease_script(keys=[key], args=[_encode(EndLeaseHead(holder)), *_parts(answer or b"")])

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
        pipeline = self._records.pipeline(transaction=False)
        pipeline.hmget(self._keys.record(task_id), *_OF_CALL)
        pipeline.get(self._keys.call(task_id))
        pipeline.time()
        with self._named_errors():
            fields, large, (seconds, _) = pipeline.execute(raise_on_error=False)
            for answer in (fields, large):
                if isinstance(answer, Exception) and not is_wrong_type(answer):
                    raise answer
        if isinstance(fields, Exception):
            return None
        small, name, queue, final, finished_at, valid_until = fields
        ended = unpack_seconds(finished_at) if final == b"1" else None
        has_expired = valid_until is not None and valid_until.isdigit() and int(valid_until) <= seconds
        if has_expired or (ended is not None and ended + self._arguments_seconds <= seconds):
            return None
        packed = small if small is not None or isinstance(large, Exception) else large
        return unpack_call(packed, name=name, queue=queue) if packed and name else None


def _parts(answer: bytes) -> list[bytes]:
    """Cut an answer into fields of a claim; a large one stays whole, because reading a long listpack is slow."""
    size = SMALL_BYTES if len(answer) <= MAX_PARTS * SMALL_BYTES else len(answer)
    return [answer[start : start + size] for start in range(0, len(answer), size or 1)]


def _claimed(stored: Mapping[bytes, bytes], fingerprint: bytes) -> Claimed:
    parts = (stored.get(b"%d" % number, b"") for number in itertools.count())
    answer = b"".join(itertools.takewhile(bool, parts))
    return Claimed(stored.get(b"f") == fingerprint, stored.get(b"t", b"").decode("utf-8", "replace"), answer or None)
