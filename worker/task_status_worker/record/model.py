"""The record: our facts about one task, kept beside Celery's meta; how it is kept in Redis is in codec.py.

Pure: the facts, their order, and the nouns made of them. Both sides import it, so they agree on every name.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec


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


class Denial(enum.StrEnum):
    """Say why a run may not start."""

    #: the task has ended
    ENDED = "ENDED"
    #: a cancel is recorded
    CANCELED = "CANCELED"
    #: its message is a copy: another run has started this attempt, or a later one
    DUPLICATE = "DUPLICATE"
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
    start_request: StartRequest | None = None

    # What describes the task: also a note that comes late fills in what is missing.
    name: str | None = None
    #: whose it is: the name of the key that has submitted it
    owner: str | None = None
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
    denial: Denial | None
    #: by the Redis clock
    at: datetime


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
    owner: str | None = None
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
