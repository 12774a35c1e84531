"""The record: our facts about one task, kept beside Celery's meta. codec.py packs it for Redis.

Pure. Kit and service both import it, so they agree on every name.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

#: keys under which task authors store the message of a failure; the first one that holds a text is used
MESSAGE_KEYS: Final = (
    "message",
    "error",
    "error_message",
    "detail",
    "details",
    "reason",
    "description",
    "exception",
    "exc",
    "msg",
    "info",
    "status",
)


class Fact(enum.StrEnum):
    """An event in the life of a task, seen by the API or a worker."""

    #: the API accepted it; its message is about to be sent
    SUBMITTED = "SUBMITTED"
    #: it was put back into the queue: rejected with requeue, or replaced by another task under the same id
    REQUEUED = "REQUEUED"
    #: a worker holds its message and has not started it
    RECEIVED = "RECEIVED"
    #: a worker executes it
    STARTED = "STARTED"
    #: an attempt ended and another one will follow
    RETRYING = "RETRYING"
    #: rejected without requeue: no worker will execute it
    REJECTED = "REJECTED"
    #: ended with Celery's `Ignore`: Celery stores nothing more, `outcome` is the last state that the task stored
    IGNORED = "IGNORED"
    #: canceled, or expired before it started
    REVOKED = "REVOKED"
    #: ended; `outcome` is its final Celery state
    FINISHED = "FINISHED"


#: order of the facts of one attempt; a fact replaces those of equal or lower rank
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

#: no other fact may follow these
FINAL_FACTS: Final = frozenset({Fact.REJECTED, Fact.IGNORED, Fact.REVOKED, Fact.FINISHED})


class Denial(enum.StrEnum):
    """Why the start of an execution is denied."""

    #: the task has ended
    ENDED = "ENDED"
    #: a cancel is recorded
    CANCELED = "CANCELED"
    #: a duplicate delivery: another execution has started this attempt, or a later one
    DUPLICATE = "DUPLICATE"
    #: the message was redelivered, and this attempt has reached its limit of starts
    DELIVERY_LIMIT = "DELIVERY_LIMIT"


class StartRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for permission to start, sent with STARTED; a denied start is not written."""

    #: the broker reports that it has delivered this message before
    redelivered: bool = False
    #: starts of one attempt after which a redelivered message is denied; 0 means unlimited
    delivery_limit: int = 0


class RecordedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The failure of an attempt, for tasks whose meta is missing, expired or incomplete."""

    type: str | None = None
    module: str | None = None
    message: str | None = None
    details: Any = None
    traceback: str | None = None


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about one task, on its way to `NOTE_SCRIPT`.

    A note without a fact reports progress or requests a cancel. `generation` counts `replace`, `attempt` counts
    retries. `run` is the token of one execution, so that a note that is written twice is counted once.
    """

    task_id: str
    fact: Fact | None = None
    generation: int = 0
    attempt: int = 0
    run: str | None = None
    #: None reports with STARTED that the execution has begun, which cannot be denied
    start_request: StartRequest | None = None

    # Descriptions of the task: even a late note adds those that are missing.
    name: str | None = None
    #: the name of the API key that submitted it
    owner: str | None = None
    queue: str | None = None
    labels: Mapping[str, str] | None = None
    #: the packed call of a submission, if it is so small that it needs no separate key
    call: bytes | None = None
    #: seconds after its end for which the call is stored; None if the reader of the call decides
    arguments_seconds: int | None = None
    #: bytes that the owner is charged with: for the record, the message and the call, joined by commas
    charged: str | None = None
    #: the end of the key of its claim, if the claim lives as long as the record
    claim: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    #: the task itself is the root; codec.py sets it if `root_id` is the id of the task
    is_root: bool | None = None
    group_id: str | None = None
    scheduled_for: datetime | None = None
    expires_at: datetime | None = None
    #: a cancel is requested; only True is written, and nothing takes it back
    cancel_requested: bool | None = None
    #: the cancel must also kill a running execution; only True is written, as above
    terminate: bool | None = None

    # The present attempt: only a note that advances the record writes these.
    #: the message may or may not have reached the broker; a later send of the same id may be confirmed
    send_unconfirmed: bool | None = None
    worker: str | None = None
    #: the worker instance that executes it
    instance: str | None = None
    #: the final Celery state, or the last one that the task stored itself before `Ignore`
    outcome: str | None = None
    #: whether Celery was to store the return value (not for `ignore_result`)
    result_stored: bool | None = None
    #: the task's last custom meta, as it wrote it
    progress: Any = None
    failure: RecordedFailure | None = None
    next_retry_at: datetime | None = None
    #: the next attempt has other arguments than the submission
    call_changed: bool | None = None


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a record after a note: the answer of `NOTE_SCRIPT`."""

    #: the note has advanced the record
    advanced: bool
    seq: int
    cancel_requested: bool
    #: the cancel must kill a running execution
    terminate: bool
    #: the task has ended, by this note or before it
    final: bool
    #: why the requested start is denied; None if it is not
    denial: Denial | None
    #: by the Redis clock
    at: datetime


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The recorded facts about one task. Times are aware, in UTC, by the Redis clock."""

    #: the last fact; None if only notes without a fact were written
    fact: Fact | None = None
    #: counts every write; never decreases
    seq: int = 0
    #: how often the task replaced itself
    generation: int = 0
    #: retries so far
    attempt: int = 0
    #: how often a worker started it
    executions: int = 0
    #: starts of this attempt since it was last requeued
    starts: int = 0
    #: how often it was put back into its queue
    requeues: int = 0
    #: facts that came after the end and changed nothing
    late: int = 0
    final: bool = False
    cancel_requested: bool = False
    #: the cancel must also kill a running execution
    terminate: bool = False
    send_unconfirmed: bool = False
    #: the last attempt has other arguments than the submission
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
    #: the task itself is the root of its workflow; then `root_id` is None
    is_root: bool = False
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
