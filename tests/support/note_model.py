"""note.lua in Python: what the fake store runs, and what the real script is compared with."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from task_status_service.status import Snapshot, TaskState, decode
from task_status_worker.record.codec import note_call
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Note, Noted, Refusal

Hash = dict[bytes, bytes]

#: fields that a new execution makes stale
_OF_ONE_EXECUTION = (b"outcome", b"failure", b"progress", b"progress_at", b"instance")


class Written(msgspec.Struct, frozen=True):
    """A note as ARGV of the script, named."""

    fact: bytes
    rank: int
    final: bytes
    generation: bytes
    attempt: bytes
    run: bytes
    stamp: bytes
    asks: bool
    redelivered: bool
    delivery_limit: int
    describes: dict[bytes, bytes]
    holds_now: dict[bytes, bytes]

    @classmethod
    def of(cls, note: Note) -> "Written":
        _, args = note_call(note, keys=Keys(), retention=Retention())
        texts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        fact, rank, final, generation, attempt, run, stamp = texts[:7]
        asks, redelivered, delivery_limit, describes = (int(text) for text in texts[14:18])
        fields = texts[18:]
        return cls(
            fact,
            int(rank),
            final,
            generation,
            attempt,
            run,
            stamp,
            bool(asks),
            bool(redelivered),
            delivery_limit,
            _pairs(fields[:describes]),
            _pairs(fields[describes:]),
        )

    def is_run_of(self, old: Mapping[bytes, bytes]) -> bool:
        """Say whether the record was last written by the same run."""
        return self.run != b"" and self.run == old.get(b"run")

    def ahead_of(self, old: Mapping[bytes, bytes]) -> int:
        """Compare the attempts: below 0, 0, or above 0."""
        mine = (int(self.generation), int(self.attempt))
        others = (int(old.get(b"generation", b"0")), int(old.get(b"attempt", b"0")))
        return (mine > others) - (mine < others)


def apply(old: Mapping[bytes, bytes], note: Note, now_ms: int, known_owner: bytes = b"") -> tuple[Hash, Noted]:
    """Give the record after a note, and the answer; `known_owner` is what the marker of a record before it holds."""
    written = Written.of(note)
    new = dict(old) or ({b"owner": known_owner} if known_owner else {})
    was_final = old.get(b"final") == b"1"
    refusal = refusal_of(old, written)
    advanced = not was_final and refusal is None and _advances(old, written)
    _count(new, b"seq")
    new.setdefault(b"indexed_at", str(now_ms).encode())
    if written.fact == b"STARTED" and refusal is None and not written.is_run_of(old):
        _count(new, b"executions")
    if was_final:
        if written.fact:
            _count(new, b"late")
    else:
        new = written.describes | new
        if written.fact == b"REQUEUED":
            _count(new, b"requeues")
        if new.get(b"cancel_requested") != old.get(b"cancel_requested"):
            new[b"updated_at"] = str(now_ms).encode()
        if advanced:
            _advance(new, written, str(now_ms).encode(), is_next_attempt=written.ahead_of(old) > 0)
        new[b"indexed_as"] = state_of(new).value.encode()
    return new, Noted(
        advanced=advanced,
        seq=int(new[b"seq"]),
        cancel_requested=new.get(b"cancel_requested") == b"1",
        terminate=new.get(b"terminate") == b"1",
        final=new.get(b"final") == b"1",
        refusal=refusal,
        at=datetime.fromtimestamp(now_ms / 1000, UTC),
    )


def refusal_of(old: Mapping[bytes, bytes], written: Written) -> Refusal | None:
    """Say why a run that asks may not start."""
    if not written.asks:
        return None
    if old.get(b"final") == b"1":
        return Refusal.ENDED
    if old.get(b"cancel_requested") == b"1":
        return Refusal.CANCELED
    place, old_place = (written.ahead_of(old), written.rank), (0, int(old.get(b"rank", b"-1")))
    if place > old_place or written.is_run_of(old):
        return None
    if place < old_place or not written.redelivered:
        return Refusal.COPY
    is_spent = 0 < written.delivery_limit <= int(old.get(b"starts", b"0"))
    return Refusal.DELIVERY_LIMIT if is_spent else None


def state_of(stored: Mapping[bytes, bytes]) -> TaskState:
    """Give the state by which a record is in the index: the one that it reads as where there is no meta."""
    status = decode(Snapshot(task_id="t", record=stored))
    assert status is not None
    return status.state


def _advances(old: Mapping[bytes, bytes], written: Written) -> bool:
    ahead = written.ahead_of(old)
    if ahead:
        return ahead > 0
    if not written.fact or (written.fact == b"REQUEUED" and written.run == old.get(b"run", b"")):
        return True
    if written.fact == b"STARTED" and written.is_run_of(old):
        return False
    return written.rank >= int(old.get(b"rank", b"-1"))


def _advance(new: Hash, written: Written, now: bytes, *, is_next_attempt: bool) -> None:
    new |= {b"updated_at": now, b"generation": written.generation, b"attempt": written.attempt}
    if written.fact:
        new |= {b"fact": written.fact, b"rank": str(written.rank).encode(), b"final": written.final}
        _drop(new, (b"next_retry_at",))
    if written.stamp:
        new[written.stamp] = now
    if written.fact == b"REQUEUED":
        new[b"starts"] = b"0"
    if written.fact == b"STARTED":
        _drop(new, _OF_ONE_EXECUTION)
        new[b"starts"] = b"1" if is_next_attempt else str(int(new.get(b"starts", b"0")) + 1).encode()
    if written.run:
        new[b"run"] = written.run
    new |= written.holds_now
    if b"progress" in written.holds_now:
        new[b"progress_at"] = now


def _drop(record: Hash, names: Iterable[bytes]) -> None:
    for name in names:
        record.pop(name, None)


def _count(record: Hash, name: bytes) -> None:
    record[name] = str(int(record.get(name, b"0")) + 1).encode()


def _pairs(flat: list[bytes]) -> Hash:
    return dict(zip(flat[::2], flat[1::2], strict=True))
