"""Packs a note into arguments of the script that writes records, and unpacks the hash of a record. Pure.

`NOTE_SCRIPT` is the only writer of records.
"""

import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from task_status_worker.record.keys import KeyNames, Keys, Retention
from task_status_worker.record.model import (
    FINAL_FACTS,
    RANKS,
    Denial,
    Fact,
    Note,
    Noted,
    Record,
    RecordedFailure,
    StartRequest,
)

#: the script that adds a note to a record and publishes the change, unless a later fact is recorded
NOTE_SCRIPT: Final = importlib.resources.files(__package__).joinpath("note.lua").read_text(encoding="utf-8")

#: limit of one packed field in bytes; a larger field, such as progress, is not stored
MAX_FIELD_BYTES: Final = 16_384

#: the field that takes the time of a fact, by the Redis clock
_STAMPS: Final[Mapping[Fact, str]] = {
    Fact.SUBMITTED: "submitted_at",
    Fact.RECEIVED: "received_at",
    Fact.STARTED: "started_at",
    Fact.REJECTED: "finished_at",
    Fact.IGNORED: "finished_at",
    Fact.REVOKED: "finished_at",
    Fact.FINISHED: "finished_at",
}

_encode_head: Final = msgspec.json.Encoder().encode

_DESCRIBES: Final = (
    "name",
    "owner",
    "queue",
    "labels",
    "parent_id",
    "root_id",
    "group_id",
    "scheduled_for",
    "expires_at",
    "cancel_requested",
    "terminate",
)
#: only True is written: a note without a cancel does not take one back
_ONLY_TRUE: Final = frozenset({"cancel_requested", "terminate"})
_HOLDS_NOW: Final = (
    "send_unconfirmed",
    "worker",
    "instance",
    "outcome",
    "result_stored",
    "progress",
    "failure",
    "next_retry_at",
    "call_changed",
)


class NoteHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first argument of `NOTE_SCRIPT`, as JSON: everything but the fields of the record."""

    id: str
    fact: str
    rank: int
    is_final: bool
    generation: int
    attempt: int
    run: str
    #: the field that takes the time of the note; empty if no field does
    stamp: str
    age_ms: int
    #: since the epoch; 0 means at once
    scheduled_ms: int
    record_seconds: int
    known_seconds: int
    #: how many of the fields describe the task; the others hold for its present attempt
    describes_count: int
    names: KeyNames
    start: StartRequest | None = None


class NoteCall(NamedTuple):
    """The arguments of `NOTE_SCRIPT`."""

    keys: list[str]
    #: the head, then a name and a value of each field
    args: list[str | bytes]


def note_call(note: Note, *, keys: Keys, retention: Retention, age_seconds: float = 0.0) -> NoteCall:
    """Return the arguments with which `NOTE_SCRIPT` writes a note that is `age_seconds` old."""
    describes = _packed_fields(note, _DESCRIBES)
    holds_now = _packed_fields(note, _HOLDS_NOW)
    head = NoteHead(
        id=note.task_id,
        fact=note.fact or "",
        rank=RANKS[note.fact] if note.fact else -1,
        is_final=note.fact in FINAL_FACTS,
        generation=note.generation,
        attempt=note.attempt,
        run=note.run or "",
        stamp=_STAMPS.get(note.fact, "") if note.fact else "",
        age_ms=max(0, round(age_seconds * 1000)),
        scheduled_ms=_milliseconds(note.scheduled_for) if note.scheduled_for else 0,
        record_seconds=retention.record_seconds,
        known_seconds=retention.known_seconds,
        describes_count=len(describes) // 2,
        names=keys.names,
        start=note.start_request,
    )
    return NoteCall(
        [keys.record(note.task_id), keys.known(note.task_id), keys.index_by_expiry],
        [_encode_head(head), *describes, *holds_now],
    )


def _packed_fields(note: Note, names: tuple[str, ...]) -> list[str | bytes]:
    """Return the names and packed values, in turn, of the fields that the note has."""
    fields: list[str | bytes] = []
    for name in names:
        value = getattr(note, name)
        if value is None or (name in _ONLY_TRUE and not value):
            continue
        packed = _pack_json(value) if name == "progress" else _pack_value(value)
        if len(packed) <= MAX_FIELD_BYTES:
            fields += (name, packed)
    return fields


def _pack_value(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, datetime):
        return str(_milliseconds(value)).encode()
    return _pack_json(value)


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _pack_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=shown)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # Celery's serializer decides whether such a value is an error; the record must not make the task fail.
        return b"null"


def shown(value: object) -> str:
    """Return the text of any value, or a placeholder if its `__str__` raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # `__str__` is code of the user
        return f"<{type(value).__name__} that cannot be shown>"


def unpack_answer(answer: Sequence[Any]) -> Noted:
    """Read the answer of `NOTE_SCRIPT`, as redis-py returns it."""
    advanced, seq, cancel_requested, final, terminate, denial, noted_ms = answer
    return Noted(
        advanced=bool(advanced),
        seq=seq,
        cancel_requested=bool(cancel_requested),
        terminate=bool(terminate),
        final=bool(final),
        denial=Denial(_text(denial)) if denial else None,
        at=_time_of_ms(noted_ms),
    )


def unpack(stored: Mapping[bytes, bytes]) -> Record | None:
    """Read the hash of a record; None if it is empty. Never raises: an unreadable field keeps its default."""
    if not stored:
        return None
    values: dict[str, Any] = {}
    for key, name, read in _READERS:
        packed = stored.get(key)
        if packed is None:
            continue
        try:
            values[name] = read(packed)
        except (ValueError, OverflowError, RecursionError, msgspec.MsgspecError):
            continue
    return Record(**values)


def unpack_seconds(packed: bytes | None) -> float | None:
    """Read one time of a record, in seconds since the epoch; None if it is missing or unreadable."""
    return int(packed[:15]) / 1_000 if packed is not None and packed.isdigit() else None


def _text(packed: bytes) -> str:
    return packed.decode("utf-8", "replace")


def _count(packed: bytes) -> int:
    number = int(packed[:15])
    if number < 0:
        raise ValueError(number)
    return number


def _flag(packed: bytes) -> bool:
    return packed == b"1"


def _time(packed: bytes) -> datetime:
    return _time_of_ms(int(packed[:15]))


def _time_of_ms(since_epoch: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=since_epoch)


def _fact(packed: bytes) -> Fact:
    return Fact(_text(packed))


def _any_json(packed: bytes) -> Any:
    return msgspec.json.decode(packed)


_READ: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "fact": _fact,
    "seq": _count,
    "generation": _count,
    "attempt": _count,
    "executions": _count,
    "starts": _count,
    "requeues": _count,
    "late": _count,
    "final": _flag,
    "cancel_requested": _flag,
    "terminate": _flag,
    "send_unconfirmed": _flag,
    "call_changed": _flag,
    "outcome": _text,
    "result_stored": _flag,
    "name": _text,
    "owner": _text,
    "queue": _text,
    "worker": _text,
    "instance": _text,
    "labels": msgspec.json.Decoder(dict[str, str]).decode,
    "parent_id": _text,
    "root_id": _text,
    "group_id": _text,
    "progress": _any_json,
    "progress_at": _time,
    "failure": msgspec.json.Decoder(RecordedFailure).decode,
    "submitted_at": _time,
    "scheduled_for": _time,
    "expires_at": _time,
    "received_at": _time,
    "started_at": _time,
    "next_retry_at": _time,
    "updated_at": _time,
    "finished_at": _time,
}

#: with encoded names, because every status is unpacked with these
_READERS: Final = tuple((name.encode(), name, read) for name, read in _READ.items())
