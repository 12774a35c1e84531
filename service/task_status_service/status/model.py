"""The nouns of a status: what the service answers, and the raw reading it is decoded from.

`TaskStatus` is the one definition of the wire shape: it is encoded straight from here, and its JSON Schema is the
component of the OpenAPI document. Every key is always present; what is absent is null.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from task_status_worker.record.codec import unpack_seconds

#: silence from which on a worker instance is stalled, and lost: three heartbeats missed, and a dozen
STALLED_SECONDS: Final = 15.0
LOST_SECONDS: Final = 60.0

#: aware, UTC
Time = Annotated[datetime, Meta(tz=True)]


class TaskState(enum.StrEnum):
    """Ours, closed: what a client switches on. Adding a value breaks generated clients."""

    #: submitted, no word from a worker yet, or waiting for its time
    QUEUED = "queued"
    #: a worker runs it
    RUNNING = "running"
    #: an attempt failed and another will follow
    RETRYING = "retrying"
    #: a cancel is requested and not confirmed
    CANCELING = "canceling"
    #: it returned
    SUCCEEDED = "succeeded"
    #: it failed; `failure.kind` says how
    FAILED = "failed"
    #: it was canceled
    CANCELED = "canceled"
    #: its `expires` passed before it started
    EXPIRED = "expired"
    #: it ended in a state of its own
    FINISHED = "finished"
    #: something is stored and no state can be read from it
    UNKNOWN = "unknown"


class FailureKind(enum.StrEnum):
    """Say how a task failed."""

    #: the task raised, or said that it failed
    EXCEPTION = "exception"
    #: a soft or hard time limit passed
    TIMEOUT = "timeout"
    #: the process that ran it died
    WORKER_LOST = "worker_lost"
    #: it was rejected and not put back into the queue
    REJECTED = "rejected"
    #: no worker knows a task of this name
    NOT_REGISTERED = "not_registered"
    #: its return value could not be stored
    NOT_SERIALIZABLE = "not_serializable"
    #: Redis or the broker failed, not the task; whether it did its work is not known
    INFRASTRUCTURE = "infrastructure"
    #: it was canceled or expired
    CANCELED = "canceled"
    #: it failed, and what is stored about it cannot be read
    UNREADABLE = "unreadable"


class Liveness(enum.StrEnum):
    """Say whether the worker that runs the task is still there."""

    #: it was heard a moment ago
    ALIVE = "alive"
    #: it is silent for longer than a heartbeat
    STALLED = "stalled"
    #: it is silent for so long that it will not come back
    LOST = "lost"
    #: nothing is known about it, or the task is not running
    UNKNOWN = "unknown"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a task is, as far as it said so."""

    percent: Annotated[float | None, Meta(description="0 to 100; null when the task gave nothing to compute it from.")]
    current: Annotated[float | int | None, Meta(description="Units done.")]
    total: Annotated[float | int | None, Meta(description="Units in all.")]
    message: Annotated[str | None, Meta(description="What the task says it is doing.")]
    stage: Annotated[str | None, Meta(description="The step or phase it is in.")]
    updated_at: Annotated[Time | None, Meta(description="When it was reported, if known.")] = None
    eta_at: Annotated[
        Time | None,
        Meta(
            description="Estimated end of a running task: the last report, continued at the mean rate since the start. "
            "Null without a total or a recorded report."
        ),
    ] = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """What the task, or its last attempt, died of."""

    kind: Annotated[FailureKind, Meta(description="How it failed.")]
    type: Annotated[str | None, Meta(description="Name of the exception class.")]
    module: Annotated[str | None, Meta(description="Module of the exception class.")]
    message: Annotated[str, Meta(description="The message of the exception; empty if there is none.")]
    details: Annotated[Any, Meta(description="What the author stored beside Celery's own keys; null if nothing.")]
    traceback: Annotated[str | None, Meta(description="The traceback, where it is stored and may be seen.")]


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that could not be read as it should be."""

    code: Annotated[str, Meta(description="A stable word, such as `invalid_json`; new ones may come.")]
    detail: Annotated[str, Meta(description="The same for a person.")]


class PollTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Times that decide when a client polls again, in seconds since the epoch; 0 if unknown."""

    submitted_at: float
    started_at: float
    scheduled_for: float
    next_retry_at: float
    cancel_requested: bool


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one task: the whole answer, in one shape everywhere."""

    id: Annotated[str, Meta(description="The task id; opaque.")]
    name: Annotated[str | None, Meta(description="The registered task name, when known.")] = None
    state: Annotated[TaskState, Meta(description="What a client switches on.")]
    done: Annotated[bool, Meta(description="The status will not change any more: stop polling.")]
    successful: Annotated[
        bool | None, Meta(description="True if it succeeded; false if it failed, was canceled or expired; else null.")
    ] = None
    celery_state: Annotated[str | None, Meta(description="Celery's word, verbatim; null when unreadable.")] = None
    progress: Annotated[Progress | None, Meta(description="How far it is.")] = None
    result: Annotated[Any, Meta(description="The return value when `succeeded`, else null.")] = None
    failure: Annotated[Failure | None, Meta(description="What it, or its last attempt, died of.")] = None
    meta: Annotated[Any, Meta(description="The task's own custom meta, as it wrote it.")] = None
    retries: Annotated[int, Meta(description="Retries so far.")] = 0
    next_retry_at: Annotated[Time | None, Meta(description="When it runs again, while `retrying`.")] = None
    liveness: Annotated[Liveness, Meta(description="Is the worker that runs it still there?")] = Liveness.UNKNOWN
    cancel_requested: Annotated[bool, Meta(description="A cancel is recorded, whatever became of it.")] = False
    executions: Annotated[int, Meta(description="How many times a worker has started it; 0 if unknown.")] = 0
    worker: Annotated[str | None, Meta(description="Where it runs, when known.")] = None
    queue: Annotated[str | None, Meta(description="Where it was sent, when known.")] = None
    parent_id: Annotated[str | None, Meta(description="The task that started it.")] = None
    root_id: Annotated[str | None, Meta(description="The first task of its workflow.")] = None
    group_id: Annotated[str | None, Meta(description="The group it belongs to.")] = None
    children: Annotated[list[str], Meta(description="Ids of the tasks it started.")] = msgspec.field(
        default_factory=list
    )
    labels: Annotated[dict[str, str], Meta(description="Set at submission.")] = msgspec.field(default_factory=dict)
    submitted_at: Annotated[Time | None, Meta(description="When it was submitted.")] = None
    scheduled_for: Annotated[Time | None, Meta(description="When it may start, if that was asked for.")] = None
    received_at: Annotated[Time | None, Meta(description="When a worker took its message.")] = None
    started_at: Annotated[Time | None, Meta(description="When a worker last started it.")] = None
    updated_at: Annotated[Time | None, Meta(description="When the last thing happened to it.")] = None
    finished_at: Annotated[Time | None, Meta(description="When it ended.")] = None
    expires_at: Annotated[Time | None, Meta(description="When it is dropped if not started.")] = None
    diagnostics: Annotated[list[Diagnostic], Meta(description="What could not be read as it should be.")] = (
        msgspec.field(default_factory=list)
    )

    @property
    def poll_times(self) -> PollTimes:
        """The times that decide when to poll again."""
        return PollTimes(
            submitted_at=_seconds(self.submitted_at),
            started_at=_seconds(self.started_at),
            scheduled_for=_seconds(self.scheduled_for),
            next_retry_at=_seconds(self.next_retry_at),
            cancel_requested=self.cancel_requested,
        )


def _seconds(moment: datetime | None) -> float:
    return moment.timestamp() if moment is not None else 0.0


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What one read of the store found about a task: raw, not decoded."""

    task_id: str
    #: the record's hash; empty if there is none
    record: Mapping[bytes, bytes] = {}
    #: the bytes under Celery's meta key, cut after `limits.MAX_STORED_BYTES` + 1; None if there is no key
    meta: bytes | None = None
    #: Celery's meta key holds a list, a set or the like
    wrong_type: bool = False
    #: a record was written for this id once
    known: bool = False
    #: whose record that was; empty if nobody's, or if there is a record
    known_owner: bytes = b""
    #: seconds since the last heartbeat of the worker instance that runs it; None if none runs it, or if unknown
    seconds_since_heartbeat: float | None = None

    @property
    def owner(self) -> str | None:
        """Name the key that has submitted it; None if nobody did here."""
        packed = self.record.get(b"owner") or self.known_owner
        return packed.decode("utf-8", "replace") if packed else None

    @property
    def is_final(self) -> bool:
        """Whether the record says that the task is done; a task without a record may be done by its meta."""
        return self.record.get(b"final") == b"1"

    @property
    def seq(self) -> bytes:
        """The packed number of changes of the record; empty without a record."""
        return self.record.get(b"seq", b"")

    @property
    def instance(self) -> bytes:
        """The worker instance that runs, or last ran, the task; empty if unknown."""
        return self.record.get(b"instance", b"")

    @property
    def poll_times(self) -> PollTimes:
        """The recorded times that decide when to poll again; read without decoding the rest."""
        record = self.record
        return PollTimes(
            submitted_at=unpack_seconds(record.get(b"submitted_at")) or 0.0,
            started_at=unpack_seconds(record.get(b"started_at")) or 0.0,
            scheduled_for=unpack_seconds(record.get(b"scheduled_for")) or 0.0,
            next_retry_at=unpack_seconds(record.get(b"next_retry_at")) or 0.0,
            cancel_requested=record.get(b"cancel_requested") == b"1",
        )

    @property
    def liveness(self) -> Liveness:
        """Say whether the instance that runs the task is still there; a status of a task that is done says no more."""
        if self.seconds_since_heartbeat is None:
            return Liveness.UNKNOWN
        if self.seconds_since_heartbeat < STALLED_SECONDS:
            return Liveness.ALIVE
        return Liveness.STALLED if self.seconds_since_heartbeat < LOST_SECONDS else Liveness.LOST

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing is stored: neither a record nor a meta. Celery takes an empty value for none."""
        return not self.record and not self.meta and not self.wrong_type


#: custom Celery states that end a task, and what each means: `TASK_STATUS_FINAL_STATES`
FinalStates = Mapping[str, TaskState]
