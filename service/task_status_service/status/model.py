"""The data types of a status: `TaskStatus`, and the raw `Snapshot` from which it is decoded.

`TaskStatus` alone defines the JSON of a status: it is encoded without conversion, and its JSON Schema is part of the
OpenAPI document. Every key is always present; a missing value is null.
"""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from task_status_worker.record.codec import unpack_seconds

#: time since the last heartbeat after which a worker instance is stalled (three missed) or lost (twelve missed)
STALLED_SECONDS: Final = 15.0
LOST_SECONDS: Final = 60.0

#: timezone-aware, UTC
Time = Annotated[datetime, Meta(tz=True)]


class TaskState(enum.StrEnum):
    """The state of a task, as a closed list for clients to switch on. A new value would break generated clients."""

    #: submitted, and not started by a worker
    QUEUED = "queued"
    #: a worker executes it
    RUNNING = "running"
    #: an attempt failed, and another one will follow
    RETRYING = "retrying"
    #: a cancel is requested but not confirmed
    CANCELING = "canceling"
    #: the task returned
    SUCCEEDED = "succeeded"
    #: the task failed; `failure.kind` contains the reason
    FAILED = "failed"
    #: the task was canceled
    CANCELED = "canceled"
    #: the task expired before it started
    EXPIRED = "expired"
    #: the task ended in a custom or unknown Celery state
    FINISHED = "finished"
    #: the stored value has no readable state
    UNKNOWN = "unknown"


class FailureKind(enum.StrEnum):
    """The reason why a task failed."""

    #: the task raised an exception, or stored a failure
    EXCEPTION = "exception"
    #: the task exceeded its soft or hard time limit
    TIMEOUT = "timeout"
    #: the worker process died
    WORKER_LOST = "worker_lost"
    #: the task was rejected without requeue
    REJECTED = "rejected"
    #: the worker has no task of this name
    NOT_REGISTERED = "not_registered"
    #: the return value could not be serialized
    NOT_SERIALIZABLE = "not_serializable"
    #: Redis or the broker failed; the task may have done its work
    INFRASTRUCTURE = "infrastructure"
    #: the task was canceled or expired
    CANCELED = "canceled"
    #: the task failed, and its stored failure cannot be read
    UNREADABLE = "unreadable"


class Liveness(enum.StrEnum):
    """The condition of the worker of a running task."""

    #: the last heartbeat is less than 15 seconds old
    ALIVE = "alive"
    #: the last heartbeat is 15 to 60 seconds old
    STALLED = "stalled"
    #: no heartbeat for 60 seconds or more
    LOST = "lost"
    #: no heartbeat is known, or the task is not running
    UNKNOWN = "unknown"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The part of its work that a running task has reported as done."""

    percent: Annotated[float | None, Meta(description="0 to 100; null if it cannot be computed from the report.")]
    current: Annotated[float | int | None, Meta(description="Units of work done.")]
    total: Annotated[float | int | None, Meta(description="Total units of work.")]
    message: Annotated[str | None, Meta(description="The message that the task reported.")]
    stage: Annotated[str | None, Meta(description="The current step or phase.")]
    updated_at: Annotated[Time | None, Meta(description="Time of the report, if known.")] = None
    eta_at: Annotated[
        Time | None,
        Meta(
            description="Estimated end of a running task, from the last report and the mean rate since the start. "
            "Null without a total or a recorded report."
        ),
    ] = None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """The reason why the task, or its last attempt, failed."""

    kind: Annotated[FailureKind, Meta(description="The kind of failure.")]
    type: Annotated[str | None, Meta(description="Name of the exception class.")]
    module: Annotated[str | None, Meta(description="Module of the exception class.")]
    message: Annotated[str, Meta(description="The message of the exception; empty without one.")]
    details: Annotated[Any, Meta(description="Other values stored with the failure; null without any.")]
    traceback: Annotated[str | None, Meta(description="The traceback, if it is stored and the caller may see it.")]


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A note about a stored value that is invalid, cut or contradictory."""

    code: Annotated[str, Meta(description="A stable code, such as `invalid_json`; releases may add codes.")]
    detail: Annotated[str, Meta(description="The explanation of the code.")]


class PollTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Times that decide when a client polls again, in seconds since the epoch; 0 if unknown."""

    submitted_at: float
    started_at: float
    scheduled_for: float
    next_retry_at: float
    cancel_requested: bool


class TaskStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of one task; the same schema in every response."""

    id: Annotated[str, Meta(description="The task id; opaque.")]
    name: Annotated[str | None, Meta(description="The task type, if known.")] = None
    state: Annotated[TaskState, Meta(description="The state of the task; a closed list.")]
    done: Annotated[bool, Meta(description="Whether the status is final: stop polling if true.")]
    successful: Annotated[
        bool | None, Meta(description="True if it succeeded; false if it failed, was canceled or expired; else null.")
    ] = None
    celery_state: Annotated[str | None, Meta(description="Celery's own state, unchanged; null if unreadable.")] = None
    progress: Annotated[Progress | None, Meta(description="The last reported progress.")] = None
    result: Annotated[Any, Meta(description="The return value if `succeeded`, else null.")] = None
    failure: Annotated[Failure | None, Meta(description="Why the task, or its last attempt, failed.")] = None
    meta: Annotated[Any, Meta(description="The custom meta of the task, as stored.")] = None
    retries: Annotated[int, Meta(description="Number of retries so far.")] = 0
    next_retry_at: Annotated[Time | None, Meta(description="Start of the next attempt, while `retrying`.")] = None
    liveness: Annotated[Liveness, Meta(description="The condition of the worker of a running task.")] = Liveness.UNKNOWN
    cancel_requested: Annotated[bool, Meta(description="Whether a cancel is recorded, effective or not.")] = False
    executions: Annotated[int, Meta(description="Number of starts by workers; 0 if unknown.")] = 0
    worker: Annotated[str | None, Meta(description="The worker, if known and the caller may see it.")] = None
    queue: Annotated[str | None, Meta(description="The queue of the task, if known.")] = None
    parent_id: Annotated[str | None, Meta(description="Id of the task that started this one.")] = None
    root_id: Annotated[str | None, Meta(description="Id of the first task of the workflow.")] = None
    group_id: Annotated[str | None, Meta(description="Id of the group of the task.")] = None
    children: Annotated[list[str], Meta(description="Ids of the tasks that this one started.")] = msgspec.field(
        default_factory=list
    )
    labels: Annotated[dict[str, str], Meta(description="The labels set at submission.")] = msgspec.field(
        default_factory=dict
    )
    submitted_at: Annotated[Time | None, Meta(description="Time of the submission.")] = None
    scheduled_for: Annotated[Time | None, Meta(description="Earliest start, if one was requested.")] = None
    received_at: Annotated[Time | None, Meta(description="Time at which a worker received the message.")] = None
    started_at: Annotated[Time | None, Meta(description="Time of the last start.")] = None
    updated_at: Annotated[Time | None, Meta(description="Time of the last recorded change.")] = None
    finished_at: Annotated[Time | None, Meta(description="Time of the end.")] = None
    expires_at: Annotated[Time | None, Meta(description="Time after which the task is no longer started.")] = None
    diagnostics: Annotated[
        list[Diagnostic], Meta(description="Notes about invalid, cut or contradictory stored values.")
    ] = msgspec.field(default_factory=list)

    @property
    def poll_times(self) -> PollTimes:
        """Return the times that decide when to poll again."""
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
    """All stored bytes about one task, as read in one round trip and not yet decoded."""

    task_id: str
    #: the packed fields of the record, by their long names; empty without a record
    record: Mapping[bytes, bytes] = {}
    #: the bytes under Celery's meta key, cut after `bounds.MAX_STORED_BYTES` + 1; None if there is no key
    meta: bytes | None = None
    #: Celery's meta key holds another Redis type, such as a list
    wrong_type: bool = False
    #: a record was written for this id, and may have expired
    known: bool = False
    #: the owner of an expired record; empty without an owner, or if the record has not expired
    known_owner: bytes = b""
    #: seconds since the last heartbeat of the worker instance that runs the task; None if not running, or unknown
    seconds_since_heartbeat: float | None = None

    @property
    def owner(self) -> str | None:
        """Return the name of the API key that submitted the task; None if it was not submitted with one."""
        packed = self.record.get(b"owner") or self.known_owner
        return packed.decode("utf-8", "replace") if packed else None

    @property
    def is_final(self) -> bool:
        """Return whether the record is final. A task without a record may be done by its meta."""
        return self.record.get(b"final") == b"1"

    @property
    def seq(self) -> bytes:
        """Return the packed number of changes of the record; empty without a record."""
        return self.record.get(b"seq", b"")

    @property
    def instance(self) -> bytes:
        """Return the worker instance that runs, or last ran, the task; empty if unknown."""
        return self.record.get(b"instance", b"")

    @property
    def poll_times(self) -> PollTimes:
        """Return the recorded times that decide when to poll again, without decoding the rest."""
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
        """Return the condition of the worker instance by its last heartbeat, even if the task is done."""
        if self.seconds_since_heartbeat is None:
            return Liveness.UNKNOWN
        if self.seconds_since_heartbeat < STALLED_SECONDS:
            return Liveness.ALIVE
        return Liveness.STALLED if self.seconds_since_heartbeat < LOST_SECONDS else Liveness.LOST

    @property
    def is_empty(self) -> bool:
        """Return whether neither a record nor a meta is stored. As in Celery, an empty value is no meta."""
        return not self.record and not self.meta and not self.wrong_type


#: custom Celery states that end a task, and the `TaskState` of each: `TASK_STATUS_FINAL_STATES`
FinalStates = Mapping[str, TaskState]
