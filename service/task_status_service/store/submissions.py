"""Redis again: claims, calls, and the recording of submissions, each in one round trip by one script."""

import importlib.resources
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import redis
from task_status_worker.record.codec import NOTE_SCRIPT, note_call, unpack_answer
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Note

from task_status_service.errors import TooManyQueued
from task_status_service.status import TaskState
from task_status_service.store.errors import named_errors
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
#: one script, for what is claimed must be recorded: the prelude, and the one that all writers of records share
_SUBMIT_SCRIPT: Final = _SCRIPTS.joinpath("submit.lua").read_text(encoding="utf-8") + NOTE_SCRIPT
_END_LEASE_SCRIPT: Final = _SCRIPTS.joinpath("end_lease.lua").read_text(encoding="utf-8")

_UNRECEIVED_SCRIPT: Final = _SCRIPTS.joinpath("unreceived.lua").read_text(encoding="utf-8")

#: tasks that are looked at in one trip, in search of lost messages: a millisecond of Redis
LOOKED_AT: Final = 500

_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(Call).decode


class RedisSubmissionStore:
    """Keep submissions beside the records."""

    def __init__(self, records: redis.Redis, *, keys: Keys, retention: Retention, queued_per_owner: int = 0) -> None:
        """Take how many tasks of one owner may be queued; 0: any number, as for those that nobody owns."""
        self._queued_per_owner = queued_per_owner
        # redis-py types every command as sync or async.
        self._records: Any = records
        self._keys = keys
        self._retention = retention
        self._submit_script = records.register_script(_SUBMIT_SCRIPT)
        self._end_lease_script = records.register_script(_END_LEASE_SCRIPT)
        self._unreceived_script = records.register_script(_UNRECEIVED_SCRIPT)

    def submit(self, submitted: Note, call: Call, claim: Claim | None) -> Recorded | Interrupted | Claimed:
        """Claim the key, record the task and keep its call, all or nothing.

        Leases are by the Redis clock. A call is kept as long as a record that nothing more is noted in.

        Raises:
            TooManyQueued: its owner has as many tasks queued as it may have.
        """
        keys, args = note_call(submitted, keys=self._keys, retention=self._retention)
        index = self._keys.index_of(submitted.owner)
        counted = [f"{index}state:{state}" for state in (TaskState.QUEUED, TaskState.CANCELING)]
        keys += [self._keys.call(submitted.task_id), *counted]
        if claim:
            keys.append(self._keys.claim(claim.owner, claim.key))
        # In the order in which the script takes them off, from the end.
        ours = (
            submitted.task_id,
            _encode(call),
            self._call_seconds(submitted.scheduled_for),
            claim.fingerprint if claim else "",
            LEASE_SECONDS,
            CLAIM_SECONDS,
            self._queued_per_owner if submitted.owner is not None else 0,
            self._keys.record(""),
        )
        with named_errors():
            found = self._submit_script(keys=keys, args=[*args, *reversed(ours)])
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
        """Read what is kept of a key; None if it was not claimed."""
        with named_errors():
            fingerprint, answer = self._records.hmget(self._keys.claim(claim.owner, claim.key), "fingerprint", "answer")
        return Claimed(fingerprint == claim.fingerprint.encode(), answer) if fingerprint else None

    def end_lease(self, claim: Claim, holder: str, answer: bytes | None) -> None:
        """End a lease that a submission with the task id `holder` was given."""
        with named_errors():
            self._end_lease_script(keys=[self._keys.claim(claim.owner, claim.key)], args=[holder, answer or b""])

    def unreceived(self, state: TaskState, *, start: int, after_seconds: float) -> tuple[int, list[Unreceived]]:
        """Look at the next `LOOKED_AT` tasks of a state; give where to go on, and those that no worker has received.

        `start` is a rank in the index: while tasks come and go some are passed over, until the next time.
        """
        keys, args = [f"{self._keys.index}state:{state}"], [start, LOOKED_AT, round(after_seconds * 1000)]
        with named_errors():
            next_start, *found = self._unreceived_script(keys=keys, args=[*args, self._keys.record("")])
        ones = zip(found[::3], found[1::3], found[2::3], strict=True)
        return next_start, [
            Unreceived(task_id.decode(), queue.decode("utf-8", "replace"), retries) for task_id, queue, retries in ones
        ]

    def mark_resent(self, task_id: str, *, seconds: float) -> bool:
        """Mark a task for so long; false if it is marked already."""
        with named_errors():
            return bool(self._records.set(self._keys.resent(task_id), "", nx=True, px=round(seconds * 1000)))

    def call(self, task_id: str) -> Call | None:
        """Read what a worker was asked to run; None if that is not kept, or not as this version keeps it."""
        with named_errors():
            stored = self._records.get(self._keys.call(task_id))
        try:
            return _decode_call(stored) if stored else None
        except msgspec.MsgspecError:
            return None
