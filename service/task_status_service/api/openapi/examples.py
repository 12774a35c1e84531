"""The examples of the document, built from the same structs as the responses."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from task_status_service.access.task_tokens import TokenScope
from task_status_service.api.requests.cursor import to_cursor
from task_status_service.api.responses.bodies import Alive, IssuedToken, Ready, TaskList, TaskType, TaskTypeList
from task_status_service.api.responses.problems import (
    HTTP_PROBLEM_TYPES,
    PROBLEM_TYPES,
    Problem,
    ProblemFault,
    ProblemType,
)
from task_status_service.errors import QuotaExceeded, message_of
from task_status_service.status import Failure, FailureKind, Liveness, Progress, TaskState, TaskStatus
from task_status_service.use_cases.listing import Position

_ID: Final = "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"
_OTHER_ID: Final = "0b0e2c1a-7a53-4d1c-8a0e-5f7d2f0c9b41"
_SUBMITTED: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_STARTED: Final = datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)
_REPORTED: Final = datetime(2026, 1, 2, 3, 4, 9, tzinfo=UTC)
_LATER: Final = datetime(2026, 1, 2, 4, 4, 5, tzinfo=UTC)

_but = msgspec.structs.replace

_QUEUED: Final = TaskStatus(
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
_RUNNING: Final = _but(
    _QUEUED,
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
_ENDED: Final = _but(
    _RUNNING, done=True, progress=None, meta=None, liveness=Liveness.UNKNOWN, finished_at=_REPORTED, successful=False
)
_SUCCEEDED: Final = _but(
    _ENDED,
    state=TaskState.SUCCEEDED,
    successful=True,
    celery_state="SUCCESS",
    progress=Progress(percent=100.0, current=10, total=10, message=None, stage=None, updated_at=_REPORTED),
    result=10,
)
_FAILED: Final = _but(
    _ENDED,
    state=TaskState.FAILED,
    celery_state="FAILURE",
    failure=Failure(
        kind=FailureKind.EXCEPTION,
        type="UnknownCustomer",
        module="shop.errors",
        message="There is no customer 42.",
        details={"customer": 42},
        traceback=None,
    ),
)
_CANCELING: Final = _but(_QUEUED, state=TaskState.CANCELING, cancel_requested=True, updated_at=_REPORTED)
_CANCELED: Final = _but(
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
_PAGE: Final = TaskList(
    items=[_RUNNING], next_cursor=to_cursor(Position(round(_SUBMITTED.timestamp() * 1000), _ID)), missing=[]
)
_TASK_TYPE: Final = TaskType(
    name="demo.count",
    doc="Count up to `total`, and report progress as most tasks do: state PROGRESS with `done` and `total`.",
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

_ANSWERS: Final[Mapping[str, Any]] = {
    "alive": Alive(),
    "byId": TaskList(items=[_SUCCEEDED], next_cursor=None, missing=[_OTHER_ID]),
    "canceled": _CANCELED,
    "canceling": _CANCELING,
    # A short stream: one event for each status.
    "events": "".join(
        f"event: status\nid: {version}\ndata: {msgspec.json.encode(task).decode()}\n\n"
        for version, task in (("3c5b0f1e8a7d4c62", _RUNNING), ("91d0a4e27bfe5038", _SUCCEEDED))
    ),
    "failed": _FAILED,
    "number": 10,
    "page": _PAGE,
    "queued": _QUEUED,
    "ready": Ready(store_epoch="2026-01-02T03:04:05Z/9f2c61ab"),
    "running": _RUNNING,
    "scheduled": _but(_QUEUED, scheduled_for=_LATER),
    "succeeded": _SUCCEEDED,
    "taskToken": IssuedToken(
        "tst_WyI2ZjFjN2Y2ZSIsWyJyZWFkIl0sIjlmMmM2MWFiMDNkZSIsMTc2NzMyNjY0NV0.signature", [TokenScope.READ], _LATER
    ),
    "taskType": _TASK_TYPE,
    "taskTypes": TaskTypeList([_TASK_TYPE], truncated=False),
}

_BODY_STATUSES: Final = frozenset({400, 408, 413, 415, 422})
#: path of the request, where it is neither a task nor a submission
_INSTANCES: Final = {
    "idempotency-in-flight": "/tasks",
    "not-ready": "/readyz",
    "quota-exceeded": "/tasks",
    "task-type-not-found": "/task-types/demo.count",
    "too-many-queued": "/tasks",
    # The path of a rejected request line is unknown.
    "uri-too-long": "",
}
_FAULTS: Final = {
    "not-ready": [ProblemFault("No worker has sent a heartbeat yet.")],
    "validation": [ProblemFault("'ten' is not of type 'integer'", pointer="#/kwargs/total")],
}
#: details that depend on the request, or that no exception of this service has a message for
_DETAILS: Final = {
    "quota-exceeded": str(QuotaExceeded(stored=268_434_980, limit=268_435_456)),
    "uri-too-long": "Request Line is too large (8215 > 8190)",
    "malformed-json": "JSON is malformed: trailing comma in array (byte 34)",
    "payload-too-large": "The data value transmitted exceeds the capacity limit.",
    "unsupported-media-type": "The body must be JSON, with Content-Type: application/json.",
}


def _problem(problem_type: ProblemType, detail: str) -> Problem:
    instance = "/tasks" if problem_type.status in _BODY_STATUSES else f"/tasks/{_ID}"
    return Problem(
        type=f"/problems/{problem_type.slug}",
        title=problem_type.title,
        status=problem_type.status,
        detail=_DETAILS.get(problem_type.slug, detail),
        instance=_INSTANCES.get(problem_type.slug, instance),
        errors=_FAULTS.get(problem_type.slug, []),
        request_id="9f2c61ab03de4d57",
    )


_PROBLEMS: Final = {
    **{problem_type.slug: _problem(problem_type, problem_type.title) for problem_type in HTTP_PROBLEM_TYPES.values()},
    **{problem_type.slug: _problem(problem_type, message_of(kind)) for kind, problem_type in PROBLEM_TYPES.items()},
}

#: responses by the name that operations use, and problems by slug
EXAMPLES: Final[Mapping[str, Any]] = {
    name: msgspec.to_builtins(example) for name, example in {**_ANSWERS, **_PROBLEMS}.items()
}

CANCELLATIONS: Final[Mapping[str, Any]] = {
    "cooperative": {"value": {}},
    "terminate": {"value": {"terminate": True}},
}

TOKEN_REQUESTS: Final[Mapping[str, Any]] = {
    "readForAnHour": {"value": {}},
    "readAndCancel": {"value": {"scopes": ["read", "cancel"], "ttl_seconds": 600}},
}

SUBMISSIONS: Final[Mapping[str, Any]] = {
    "byName": {"value": {"name": "demo.count", "kwargs": {"total": 10}, "labels": {"customer": "42"}}},
    "byPosition": {"value": {"name": "demo.add", "args": [2, 3]}},
    "later": {"value": {"name": "demo.add", "args": [2, 3], "countdown": 60, "expires": 3600}},
}
