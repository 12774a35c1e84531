"""note.lua in Python: what the fake store runs, and what the real script is compared with."""

from collections.abc import Iterable, Mapping

import msgspec
from task_status_service.status import Snapshot, TaskState, decode
from task_status_worker.keys import Keys, Retention
from task_status_worker.record import Note, note_call

Hash = dict[bytes, bytes]

#: fields that a new execution makes stale
_OF_ONE_EXECUTION = (b"outcome", b"failure", b"progress", b"progress_at")


class Written(msgspec.Struct, frozen=True):
    """A note as ARGV of the script, named."""

    fact: bytes
    rank: int
    final: bytes
    generation: bytes
    attempt: bytes
    run: bytes
    stamp: bytes
    describes: dict[bytes, bytes]
    holds_now: dict[bytes, bytes]

    @classmethod
    def of(cls, note: Note) -> "Written":
        _, args = note_call(note, keys=Keys(), retention=Retention())
        texts = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        fact, rank, final, generation, attempt, run, stamp = texts[:7]
        describes, fields = int(texts[14]), texts[15:]
        return cls(
            fact,
            int(rank),
            final,
            generation,
            attempt,
            run,
            stamp,
            _pairs(fields[:describes]),
            _pairs(fields[describes:]),
        )


def apply(old: Mapping[bytes, bytes], note: Note, now_ms: int) -> Hash:
    """Give the record after a note."""
    written = Written.of(note)
    new = dict(old)
    was_final = old.get(b"final") == b"1"
    _count(new, b"seq")
    new.setdefault(b"indexed_at", str(now_ms).encode())
    if written.fact == b"STARTED" and (not written.run or written.run != old.get(b"run")):
        _count(new, b"executions")
    if was_final:
        if written.fact:
            _count(new, b"late")
        return new
    new = written.describes | new
    if _advances(old, written):
        _advance(new, written, str(now_ms).encode())
    new[b"indexed_as"] = state_of(new).value.encode()
    return new


def state_of(stored: Mapping[bytes, bytes]) -> TaskState:
    """Give the state by which a record is in the index: the one that it reads as where there is no meta."""
    status = decode(Snapshot(task_id="t", record=stored))
    assert status is not None
    return status.state


def _advances(old: Mapping[bytes, bytes], written: Written) -> bool:
    for name, text in ((b"generation", written.generation), (b"attempt", written.attempt)):
        before = int(old.get(name, b"0"))
        if int(text) != before:
            return int(text) > before
    same_run = written.run == old.get(b"run", b"")
    if not written.fact or (written.fact == b"REQUEUED" and same_run):
        return True
    if written.fact == b"STARTED" and written.run and same_run:
        return False
    return written.rank >= int(old.get(b"rank", b"-1"))


def _advance(new: Hash, written: Written, now: bytes) -> None:
    new |= {b"updated_at": now, b"generation": written.generation, b"attempt": written.attempt}
    if written.fact:
        new |= {b"fact": written.fact, b"rank": str(written.rank).encode(), b"final": written.final}
        _drop(new, (b"next_retry_at",))
    if written.stamp:
        new[written.stamp] = now
    if written.fact == b"REQUEUED":
        _count(new, b"requeues")
    if written.fact == b"STARTED":
        _drop(new, _OF_ONE_EXECUTION)
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
