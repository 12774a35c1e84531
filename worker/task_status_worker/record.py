"""The record: our facts about one task, kept in one Redis hash beside Celery's meta.

Pure: facts, their order, pack and unpack. Both sides import it, so they agree on every name. Whoever writes a fact
runs `NOTE_SCRIPT`, the only writer of a record.
"""

import enum
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from task_status_worker.keys import Keys, Retention

#: advances a record by one note: monotonic, final fenced, published; KEYS and ARGV come from `note_call`
NOTE_SCRIPT: Final = importlib.resources.files(__package__).joinpath("note.lua").read_text(encoding="utf-8")

#: the most bytes that one packed field (progress, failure) may take in a record
MAX_FIELD_BYTES: Final = 16_384


class Fact(enum.StrEnum):
    """Name what happened to a task, as the API or a worker saw it."""

    #: the API accepted it; its message is about to be sent
    SUBMITTED = "SUBMITTED"
    #: it was put back into the queue: rejected with requeue, or replaced by another task under the same id
    REQUEUED = "REQUEUED"
    #: a worker holds its message and has not started it
    RECEIVED = "RECEIVED"
    #: a worker runs it
    STARTED = "STARTED"
    #: an attempt ended and another one will follow
    RETRYING = "RETRYING"
    #: refused without requeue: nobody will run it
    REJECTED = "REJECTED"
    #: ended with Celery's `Ignore`: Celery stores nothing more, `outcome` is what the task stored itself
    IGNORED = "IGNORED"
    #: canceled, or expired before it started
    REVOKED = "REVOKED"
    #: ended; `outcome` is the Celery state it ended in
    FINISHED = "FINISHED"


#: order of the facts of one attempt; equal or higher replaces lower
RANKS: Final[Mapping[Fact, int]] = {
    Fact.SUBMITTED: 0,
    Fact.REQUEUED: 1,
    Fact.RECEIVED: 2,
    Fact.STARTED: 3,
    Fact.RETRYING: 4,
    Fact.REJECTED: 5,
    Fact.IGNORED: 5,
    Fact.REVOKED: 5,
    Fact.FINISHED: 5,
}

#: nothing may follow these
FINAL_FACTS: Final = frozenset({Fact.REJECTED, Fact.IGNORED, Fact.REVOKED, Fact.FINISHED})

#: the time that a fact stamps, by the Redis clock
_STAMPS: Final[Mapping[Fact, str]] = {
    Fact.SUBMITTED: "submitted_at",
    Fact.RECEIVED: "received_at",
    Fact.STARTED: "started_at",
    Fact.REJECTED: "finished_at",
    Fact.IGNORED: "finished_at",
    Fact.REVOKED: "finished_at",
    Fact.FINISHED: "finished_at",
}


class Refusal(enum.StrEnum):
    """Say why a run may not start."""

    #: the task has ended
    ENDED = "ENDED"
    #: a cancel is recorded
    CANCELED = "CANCELED"
    #: its message is a copy: another run has started this attempt, or a later one
    COPY = "COPY"
    #: its message was delivered again, and this attempt was started as often as it may be
    DELIVERY_LIMIT = "DELIVERY_LIMIT"


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask, with STARTED, whether a run may start; what is refused is not written."""

    #: the broker says that it has delivered this message before
    redelivered: bool = False
    #: how often an attempt may be started before one that was delivered again is refused; 0: any number
    delivery_limit: int = 0


class RecordedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Keep what an attempt died of, for tasks whose meta does not or no longer says it."""

    type: str | None = None
    module: str | None = None
    message: str | None = None
    details: Any = None
    traceback: str | None = None


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Carry one fact about one task from the one who saw it to `NOTE_SCRIPT`.

    A note without a fact only reports progress. `generation` counts `replace`, `attempt` counts retries, `run` is a
    token of one execution, so that a note that is written twice is counted once.
    """

    task_id: str
    fact: Fact | None = None
    generation: int = 0
    attempt: int = 0
    run: str | None = None
    #: without it a STARTED tells that the run has begun, which cannot be refused
    asks: StartRequest | None = None

    # What describes the task: also a note that comes late fills in what is missing.
    name: str | None = None
    queue: str | None = None
    labels: Mapping[str, str] | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    #: a cancel was asked for; only true is written, and nothing takes it back
    cancel_requested: bool | None = None
    #: ... and a run that does not stop by itself is to be killed; as above
    terminate: bool | None = None

    # What holds now: only a note that advances the record writes it.
    #: the message may or may not have reached the broker; a later send of the same id may be confirmed
    send_unconfirmed: bool | None = None
    worker: str | None = None
    #: which worker instance runs it
    instance: str | None = None
    #: the Celery state in which the task ended, or which it stored itself before `Ignore`
    outcome: str | None = None
    #: whether Celery was to store the return value (not for `ignore_result`)
    result_stored: bool | None = None
    #: the task's last custom meta, as it wrote it
    progress: Any = None
    failure: RecordedFailure | None = None
    next_retry_at: datetime | None = None
    #: the next attempt has other arguments than the task was submitted with
    call_changed: bool | None = None


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Say what the record holds after a note: the answer of `NOTE_SCRIPT`."""

    #: the note is the latest word about the task
    advanced: bool
    seq: int
    cancel_requested: bool
    #: whether the cancel is to kill a run
    terminate: bool
    #: the task has ended, by this note or before it
    final: bool
    #: why the run that asked may not start; None if it may
    refusal: Refusal | None
    #: by the Redis clock
    at: datetime

    @classmethod
    def of(cls, answer: Sequence[Any]) -> "Noted":
        """Read the answer of the script as redis-py gives it."""
        advanced, seq, cancel_requested, final, terminate, refusal, noted_ms = answer
        return cls(
            advanced=bool(advanced),
            seq=seq,
            cancel_requested=bool(cancel_requested),
            terminate=bool(terminate),
            final=bool(final),
            refusal=Refusal(_text(refusal)) if refusal else None,
            at=_time_of_ms(noted_ms),
        )


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what is known about one task besides Celery's meta. Times are aware, UTC, by the Redis clock."""

    #: the last fact; None when only progress was ever written
    fact: Fact | None = None
    #: counts every write; never decreases
    seq: int = 0
    #: how often the task replaced itself
    generation: int = 0
    #: retries so far
    attempt: int = 0
    #: how often a worker started it
    executions: int = 0
    #: how often this attempt was started since it was last put back into its queue on purpose
    starts: int = 0
    #: how often it was put back into its queue
    requeues: int = 0
    #: notes that came after the end and changed nothing
    late: int = 0
    final: bool = False
    cancel_requested: bool = False
    #: the cancel is to kill a run that does not stop by itself
    terminate: bool = False
    send_unconfirmed: bool = False
    #: the last attempt was to have other arguments than the task was submitted with
    call_changed: bool = False
    outcome: str | None = None
    result_stored: bool = True

    name: str | None = None
    queue: str | None = None
    worker: str | None = None
    #: the worker instance of the last start
    instance: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    progress: Any = None
    progress_at: datetime | None = None
    failure: RecordedFailure | None = None

    submitted_at: datetime | None = None
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    received_at: datetime | None = None
    started_at: datetime | None = None
    next_retry_at: datetime | None = None
    updated_at: datetime | None = None
    finished_at: datetime | None = None


_DESCRIBES: Final = (
    "name",
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
#: of these only true is written: whoever does not ask for it does not take it back
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


def note_call(
    note: Note, *, keys: Keys, retention: Retention, age_seconds: float = 0.0
) -> tuple[list[str], list[str | int | bytes]]:
    """Give KEYS and ARGV with which `NOTE_SCRIPT` writes a note that was taken `age_seconds` ago."""
    describes = _packed_fields(note, _DESCRIBES)
    holds_now = _packed_fields(note, _HOLDS_NOW)
    return (
        [keys.record(note.task_id), keys.known(note.task_id), f"{keys.index}expiry"],
        [
            note.fact or "",
            RANKS[note.fact] if note.fact else -1,
            int(note.fact in FINAL_FACTS),
            note.generation,
            note.attempt,
            note.run or "",
            _STAMPS.get(note.fact, "") if note.fact else "",
            max(0, round(age_seconds * 1000)),
            _pack_value(note.scheduled_for) if note.scheduled_for else 0,
            retention.record_seconds,
            retention.known_seconds,
            note.task_id,
            keys.record(""),
            keys.index,
            int(note.asks is not None),
            int(note.asks is not None and note.asks.redelivered),
            note.asks.delivery_limit if note.asks else 0,
            len(describes),
            *describes,
            *holds_now,
        ],
    )


def _packed_fields(note: Note, names: tuple[str, ...]) -> list[str | int | bytes]:
    """List names and packed values, one after the other, of the fields that the note carries."""
    fields: list[str | int | bytes] = []
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
        return str(round(value.timestamp() * 1000)).encode()
    return _pack_json(value)


def _pack_json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=str)
    except (TypeError, ValueError, OverflowError, RecursionError):
        # A progress that JSON cannot hold is Celery's to refuse, not ours to fail on.
        return b"null"


def unpack(stored: Mapping[bytes, bytes]) -> Record | None:
    """Read a record's hash; None if it is empty. Total: fields that cannot be read keep their default."""
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

#: encoded once: every status is unpacked by these
_READERS: Final = tuple((name.encode(), name, read) for name, read in _READ.items())
