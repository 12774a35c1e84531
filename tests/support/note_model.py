"""note.lua in Python: the fake store runs it, and tests compare it with the real script.

Fields have their long names, and the defaults that `named` adds.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from task_status_service.status import Snapshot, TaskState, decode
from task_status_worker.record.codec import FIELDS, NoteHead, note_call
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import RANKS, Denial, Fact, Note, Noted

Hash = dict[bytes, bytes]

_LONG_NAMES = {short.encode(): name.encode() for name, short in FIELDS.items()}

#: fields that a new execution makes stale
_OF_ONE_EXECUTION = (b"outcome", b"failure", b"progress", b"progress_at", b"instance")


class Written(msgspec.Struct, frozen=True):
    """The arguments of the script for one note."""

    head: NoteHead
    describes: Hash
    holds_now: Hash

    @classmethod
    def of(cls, note: Note) -> "Written":
        return cls.of_args(note_call(note, keys=Keys(), retention=Retention()).args)

    @classmethod
    def of_args(cls, args: Sequence[str | bytes]) -> "Written":
        head, fields = read_args(args)
        pairs = list(fields.items())
        return cls(head, dict(pairs[: head.describes_count]), dict(pairs[head.describes_count :]))

    @property
    def fact(self) -> bytes:
        return self.head.fact.encode()

    @property
    def rank(self) -> int:
        return self.head.rank

    @property
    def run(self) -> bytes:
        return self.head.run.encode()

    def is_run_of(self, old: Mapping[bytes, bytes]) -> bool:
        """Return whether the same execution wrote the record last."""
        return self.run != b"" and self.run == old.get(b"run")

    def ahead_of(self, old: Mapping[bytes, bytes]) -> int:
        """Return -1 for an earlier attempt than the record's, 0 for the same one, 1 for a later one."""
        mine = (self.head.generation, self.head.attempt)
        others = (int(old.get(b"generation", b"0")), int(old.get(b"attempt", b"0")))
        return (mine > others) - (mine < others)


def apply(old: Mapping[bytes, bytes], note: Note, now_ms: int, known_owner: bytes = b"") -> tuple[Hash, Noted]:
    """Return the record after a note, and the answer. `known_owner` is the owner in the tombstone of the task."""
    return write(old, Written.of(note), now_ms, known_owner)


def write(old: Mapping[bytes, bytes], written: Written, now_ms: int, known_owner: bytes = b"") -> tuple[Hash, Noted]:
    """Return the same as `apply`, from the arguments of the script."""
    new = dict(old) or ({b"owner": known_owner} if known_owner else {})
    was_final = old.get(b"final") == b"1"
    denial = denial_of(old, written)
    advanced = not was_final and denial is None and _advances(old, written)
    _count(new, b"seq")
    new.setdefault(b"indexed_at", str(now_ms).encode())
    new.setdefault(b"indexed_as", b"queued")
    if written.fact == b"STARTED" and denial is None and not written.is_run_of(old):
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
        denial=denial,
        at=datetime.fromtimestamp(now_ms / 1000, UTC),
    )


def denial_of(old: Mapping[bytes, bytes], written: Written) -> Denial | None:
    """Return why a requested start is denied; None if it is allowed or was not requested."""
    start = written.head.start
    if start is None:
        return None
    if old.get(b"final") == b"1":
        return Denial.ENDED
    if old.get(b"cancel_requested") == b"1":
        return Denial.CANCELED
    place, old_place = (written.ahead_of(old), written.rank), (0, _rank_of(old))
    if place > old_place or written.is_run_of(old):
        return None
    if place < old_place or not start.redelivered:
        return Denial.DUPLICATE
    is_spent = 0 < start.delivery_limit <= int(old.get(b"starts", b"0"))
    return Denial.DELIVERY_LIMIT if is_spent else None


def state_of(stored: Mapping[bytes, bytes]) -> TaskState:
    """Return the state under which a record is in the index: its state without a meta."""
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
    return written.rank >= _rank_of(old)


def _rank_of(record: Mapping[bytes, bytes]) -> int:
    return RANKS[Fact(record[b"fact"].decode())] if b"fact" in record else -1


def _advance(new: Hash, written: Written, now: bytes, *, is_next_attempt: bool) -> None:
    head = written.head
    new[b"updated_at"] = now
    _put(new, {b"generation": _number(head.generation), b"attempt": _number(head.attempt)})
    if written.fact:
        new[b"fact"] = written.fact
        _put(new, {b"final": _number(head.is_final)})
        _drop(new, (b"next_retry_at",))
    if head.stamp:
        new[_LONG_NAMES[head.stamp.encode()]] = now
    if written.fact == b"REQUEUED":
        _drop(new, (b"starts",))
    if written.fact == b"STARTED":
        _drop(new, _OF_ONE_EXECUTION)
        new[b"starts"] = b"1" if is_next_attempt else str(int(new.get(b"starts", b"0")) + 1).encode()
    if written.run:
        new[b"run"] = written.run
    _put(new, written.holds_now)
    if b"progress" in written.holds_now:
        new[b"progress_at"] = now


def _put(record: Hash, values: Mapping[bytes, bytes]) -> None:
    """Set fields, and remove those that have their default."""
    for name, value in values.items():
        if not value:
            record.pop(name, None)
        else:
            record[name] = value


def _drop(record: Hash, names: Iterable[bytes]) -> None:
    for name in names:
        record.pop(name, None)


def _count(record: Hash, name: bytes) -> None:
    record[name] = str(int(record.get(name, b"0")) + 1).encode()


def _number(value: int) -> bytes:
    """Return the packed form of a number; empty for 0, the default."""
    return str(int(value)).encode() if value else b""


def read_args(args: Sequence[str | bytes]) -> tuple[NoteHead, Hash]:
    """Return the head and the fields, by their long names, from the arguments of the script."""
    head, *fields = (arg.encode() if isinstance(arg, str) else arg for arg in args)
    names = [_LONG_NAMES[short] for short in fields[::2]]
    return msgspec.json.decode(head, type=NoteHead), dict(zip(names, fields[1::2], strict=True))
