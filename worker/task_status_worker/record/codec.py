"""Packs a note into arguments of the script that writes records, and unpacks the hash of a record. Pure.

`NOTE_SCRIPT` is the only writer of records. A record is stored under the short names of `FIELDS`; Python code and the
sources of the scripts use the long ones.
"""

import importlib.resources
import re
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

#: field -> its name in the stored hash. Redis stores every name in every record, so long names would take more memory
#: than the values
FIELDS: Final[Mapping[str, str]] = {
    # Facts, places and counters.
    "fact": "f",
    "generation": "g",
    "attempt": "a",
    "run": "x",
    "final": "z",
    "seq": "s",
    "executions": "e",
    "starts": "b",
    "requeues": "rq",
    "late": "l",
    # Descriptions of the task.
    "name": "n",
    "owner": "o",
    "queue": "q",
    "labels": "t",
    "call": "c",
    "arguments_seconds": "as",
    "charged": "m",
    "claim": "d",
    "parent_id": "p",
    "root_id": "r",
    #: the task is the root of its workflow, as most tasks are: its own id is not stored again
    "is_root": "ir",
    "group_id": "gr",
    "cancel_requested": "k",
    "terminate": "kt",
    # The present attempt.
    "send_unconfirmed": "su",
    "call_changed": "cc",
    "worker": "w",
    "instance": "i",
    "outcome": "y",
    "result_stored": "rs",
    "progress": "pg",
    "failure": "fl",
    # Times in milliseconds since the epoch.
    "submitted_at": "S",
    "scheduled_for": "sf",
    "expires_at": "ea",
    "received_at": "R",
    "started_at": "B",
    "progress_at": "pa",
    "next_retry_at": "na",
    "updated_at": "U",
    "finished_at": "E",
    # The place in the index: the time and the state under which the task is listed. `named` has their defaults.
    "indexed_at": "I",
    "indexed_as": "J",
    #: the time after which the task is expired, in seconds since the epoch; 0 in a tombstone
    "valid_until": "v",
}
_LONG_NAMES: Final = {short.encode(): name.encode() for name, short in FIELDS.items()}

_IN_LUA: Final = re.compile(r"\b(?:F\.([a-z_]+)|(RANKS|FIELDS)\b)")


def script_of(source: str) -> str:
    """Return the source of a script with the stored names of fields in place of `F.<name>`, `FIELDS` and `RANKS`."""
    tables = {
        "RANKS": "{" + ", ".join(f"{fact} = {rank}" for fact, rank in RANKS.items()) + "}",
        "FIELDS": "{" + ", ".join(f"'{short}'" for short in FIELDS.values()) + "}",
    }
    # Not within comments, which explain the names.
    code = re.sub(r"--.*", "", source)
    return _IN_LUA.sub(lambda found: f"'{FIELDS[found[1]]}'" if found[1] else f"({tables[found[2]]})", code)


def _source(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


#: functions that the scripts share; it stands before each script that uses them
SHARED_SCRIPT: Final = script_of(_source("shared.lua"))
_WRITE_NOTE: Final = script_of(_source("note.lua"))
#: the script that adds a note to a record and publishes the change, unless a later fact is recorded
NOTE_SCRIPT: Final = SHARED_SCRIPT + _WRITE_NOTE


def note_script_after(prelude: str) -> str:
    """Return `NOTE_SCRIPT` with a prelude, which may use the functions of shared.lua and end the script."""
    return SHARED_SCRIPT + script_of(prelude) + _WRITE_NOTE


#: limit of the id of a task that is recorded; page.lua lists no longer ones
MAX_ID_BYTES: Final = 255
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")

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
    "call",
    "arguments_seconds",
    "charged",
    "claim",
    "parent_id",
    "root_id",
    "is_root",
    "group_id",
    "scheduled_for",
    "expires_at",
    "cancel_requested",
    "terminate",
)
#: only True is written: a note without a cancel does not take one back
_ONLY_TRUE: Final = frozenset({"is_root", "cancel_requested", "terminate"})
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
#: a field with its default is removed, because a missing field reads the same
_DEFAULTS: Final[Mapping[str, bool | str]] = {
    "send_unconfirmed": False,
    "result_stored": True,
    "call_changed": False,
    "worker": "",
}


class NoteHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first argument of `NOTE_SCRIPT`, as JSON: everything but the fields of the record."""

    id: str
    fact: str
    rank: int
    is_final: bool
    generation: int
    attempt: int
    run: str
    #: the stored name of the field that takes the time of the note; empty if no field does
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
    """Return the arguments with which `NOTE_SCRIPT` writes a note that is `age_seconds` old.

    Raises:
        ValueError: the task id is empty, too long or has control characters. Celery accepts any text as an id.
    """
    if not 0 < len(note.task_id.encode()) <= MAX_ID_BYTES or _CONTROL.search(note.task_id):
        raise ValueError("the task id cannot be part of a key: use up to 255 bytes without control characters")
    note = _without_repeats(note)
    describes = _packed_fields(note, _DESCRIBES)
    holds_now = _packed_fields(note, _HOLDS_NOW)
    stamp = _STAMPS.get(note.fact) if note.fact else None
    head = NoteHead(
        id=note.task_id,
        fact=note.fact or "",
        rank=RANKS[note.fact] if note.fact else -1,
        is_final=note.fact in FINAL_FACTS,
        generation=note.generation,
        attempt=note.attempt,
        run=note.run or "",
        stamp=FIELDS[stamp] if stamp else "",
        age_ms=max(0, round(age_seconds * 1000)),
        scheduled_ms=_milliseconds(note.scheduled_for) if note.scheduled_for else 0,
        record_seconds=retention.record_seconds,
        known_seconds=retention.known_seconds,
        describes_count=len(describes) // 2,
        names=keys.names,
        start=note.start_request,
    )
    return NoteCall(
        [keys.record(note.task_id), keys.index_by_expiry, keys.index_keys],
        [_encode_head(head), *describes, *holds_now],
    )


def _without_repeats(note: Note) -> Note:
    """Return a note without the texts that `unpack` and the reader derive from others."""
    if note.root_id == note.task_id:
        note = msgspec.structs.replace(note, root_id=None, is_root=True)
    if note.instance is not None and note.worker == _worker_of(note.instance):
        note = msgspec.structs.replace(note, worker="")
    return note


def _worker_of(instance: str) -> str:
    """Return the name of the worker in the name of its instance, which heartbeat.py joins with a slash."""
    return instance.rpartition("/")[0]


def _packed_fields(note: Note, names: tuple[str, ...]) -> list[str | bytes]:
    """Return the stored names and packed values, in turn, of the fields that the note has."""
    fields: list[str | bytes] = []
    for name in names:
        value = getattr(note, name)
        if value is None or (name in _ONLY_TRUE and not value):
            continue
        if value == _DEFAULTS.get(name):
            fields += (FIELDS[name], b"")
            continue
        packed = _pack_json(value) if name == "progress" else _pack_value(value)
        if 0 < len(packed) <= MAX_FIELD_BYTES:
            fields += (FIELDS[name], packed)
    return fields


def _pack_value(value: Any) -> bytes:
    if isinstance(value, bool):
        return b"1" if value else b"0"
    if isinstance(value, bytes):
        return value
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
        at=time_of_ms(noted_ms),
    )


def named(stored: Mapping[bytes, bytes] | Sequence[bytes]) -> dict[bytes, bytes]:
    """Return the fields of a stored hash by their long names, without unknown ones.

    A sequence holds names and values in turn, as Redis replies to HGETALL.
    """
    pairs = stored.items() if isinstance(stored, Mapping) else zip(stored[::2], stored[1::2], strict=True)
    fields = {_LONG_NAMES[short]: packed for short, packed in pairs if short in _LONG_NAMES}
    # note.lua stores neither the times of a task that was only submitted, nor its state, which is the most frequent.
    if (submitted_at := fields.get(b"submitted_at")) is not None:
        fields.setdefault(b"updated_at", submitted_at)
        fields.setdefault(b"indexed_at", submitted_at)
    if fields:
        fields.setdefault(b"indexed_as", b"queued")
    return fields


def unpack(stored: Mapping[bytes, bytes]) -> Record | None:
    """Read the fields of a record by their long names; None if the record is missing.

    Never raises: an unreadable field keeps its default.
    """
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
    if "worker" not in values and "instance" in values:
        values["worker"] = _worker_of(values["instance"]) or None
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
    return time_of_ms(int(packed[:15]))


def time_of_ms(since_epoch: int) -> datetime:
    """Return the time of some milliseconds since the epoch."""
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
    "is_root": _flag,
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
