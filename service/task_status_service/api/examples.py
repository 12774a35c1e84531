"""The examples of the document, as the code would answer them."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from task_status_service.api.answers import TaskType
from task_status_service.api.cursor import to_cursor
from task_status_service.listing import Position
from task_status_service.status import Failure, FailureKind, Liveness, Progress, TaskState, TaskStatus

_ID: Final = "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"
_SUBMITTED: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_STARTED: Final = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
_REPORTED: Final = datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)

_ACCEPTED: Final = TaskStatus(
    id=_ID,
    name="demo.count",
    state=TaskState.QUEUED,
    done=False,
    celery_state="PENDING",
    queue="demo",
    labels={"customer": "42"},
    submitted_at=_SUBMITTED,
    updated_at=_SUBMITTED,
)

ACCEPTED: Final[dict[str, Any]] = msgspec.to_builtins(_ACCEPTED)

RUNNING: Final[dict[str, Any]] = msgspec.to_builtins(
    msgspec.structs.replace(
        _ACCEPTED,
        state=TaskState.RUNNING,
        celery_state="PROGRESS",
        progress=Progress(percent=30.0, current=3, total=10, message=None, stage=None, updated_at=_REPORTED),
        meta={"done": 3, "total": 10},
        liveness=Liveness.ALIVE,
        executions=1,
        worker="celery@worker-1",
        received_at=_SUBMITTED,
        started_at=_STARTED,
        updated_at=_REPORTED,
    )
)

SUCCEEDED: Final[dict[str, Any]] = msgspec.to_builtins(
    msgspec.structs.replace(
        _ACCEPTED,
        state=TaskState.SUCCEEDED,
        done=True,
        successful=True,
        celery_state="SUCCESS",
        progress=Progress(percent=100.0, current=10, total=10, message=None, stage=None, updated_at=_REPORTED),
        result=10,
        executions=1,
        worker="celery@worker-1",
        received_at=_SUBMITTED,
        started_at=_STARTED,
        updated_at=_REPORTED,
        finished_at=_REPORTED,
    )
)
_CANCELING: Final = msgspec.structs.replace(
    _ACCEPTED, state=TaskState.CANCELING, cancel_requested=True, updated_at=_REPORTED
)

CANCELING: Final[dict[str, Any]] = msgspec.to_builtins(_CANCELING)

CANCELED: Final[dict[str, Any]] = msgspec.to_builtins(
    msgspec.structs.replace(
        _CANCELING,
        state=TaskState.CANCELED,
        done=True,
        successful=False,
        celery_state="REVOKED",
        failure=Failure(
            kind=FailureKind.CANCELED,
            type="TaskRevokedError",
            module="celery.exceptions",
            message="revoked",
            details=None,
            traceback=None,
        ),
        finished_at=_REPORTED,
    )
)

LISTED: Final[dict[str, Any]] = {
    "items": [RUNNING],
    "next_cursor": to_cursor(Position(round(_SUBMITTED.timestamp() * 1000), _ID)),
    "missing": [],
}

TASK_TYPE: Final[dict[str, Any]] = msgspec.to_builtins(
    TaskType(
        name="demo.count",
        doc="Count up to `total`, and say so the way most tasks do: state PROGRESS with `done` and `total`.",
        queue="demo",
        workers=1,
        ignores_result=False,
        arguments={
            "type": "object",
            "properties": {
                "total": {"type": "integer", "minimum": 1, "maximum": 100_000},
                "interval": {"type": "number", "description": "Seconds.", "default": 0.1},
            },
            "required": ["total"],
            "additionalProperties": False,
        },
        positional=["total", "interval"],
        positional_only=0,
        var_positional=False,
    )
)

CANCELLATIONS: Final[dict[str, Any]] = {
    "ifItHasNotStarted": {"value": {}},
    "alsoWhereItRuns": {"value": {"terminate": True}},
}

TOKEN_WISHES: Final[dict[str, Any]] = {
    "toReadForAnHour": {"value": {}},
    "toReadAndCancel": {"value": {"scopes": ["read", "cancel"], "ttl_seconds": 600}},
}

ISSUED: Final[dict[str, Any]] = {
    "token": "tst_WyI2ZjFjN2Y2ZSIsWyJyZWFkIl0sIjlmMmM2MWFiMDNkZSIsMTc2NzMyNjY0NV0.signature",
    "expires_at": "2026-01-02T04:04:05Z",
}

SUBMISSIONS: Final[dict[str, Any]] = {
    "byName": {"value": {"name": "demo.count", "kwargs": {"total": 10}, "labels": {"customer": "42"}}},
    "byPosition": {"value": {"name": "demo.add", "args": [2, 3]}},
    "later": {"value": {"name": "demo.add", "args": [2, 3], "countdown": 60, "expires": 3600}},
}
