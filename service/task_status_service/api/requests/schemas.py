"""marshmallow schemas of requests. Responses are structs: api/responses/bodies.py and status/model.py."""

import math
from collections.abc import Iterable
from typing import Any, Final

import marshmallow as ma
import msgspec
from marshmallow import ValidationError, fields, validate

from task_status_service.access.caller import Scope
from task_status_service.access.task_tokens import MAX_TTL_SECONDS
from task_status_service.api.requests.fields import (
    MAX_ARGUMENTS,
    MAX_LABELS,
    Cursor,
    DecimalNumber,
    Flag,
    JsonObject,
    Label,
    Labels,
    Moment,
    QueueName,
    Seconds,
    SecondsOrMoment,
    State,
    TaskId,
    TaskName,
    TokenScopes,
    WholeNumber,
    from_now,
)
from task_status_service.api.requests.parameters import MAX_IDS
from task_status_service.status import TaskState
from task_status_service.use_cases.listing import Filter, Position
from task_status_service.use_cases.submission import Call, Submission

#: limit of all encoded arguments in bytes, because the broker and the store keep them
MAX_ARGUMENTS_BYTES: Final = 512 * 1024
#: most tasks of one page, and the default
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
#: tasks of a list that cost as much as one request
TASKS_PER_REQUEST: Final = 50
DEFAULT_TTL_SECONDS: Final = 3_600


class SubmissionSchema(ma.Schema):
    """A task to submit. Unknown keys are rejected."""

    name = TaskName(
        required=True,
        metadata={"description": "The registered task name.", "example": "demo.count"},
    )
    args = fields.List(
        fields.Raw(allow_none=True),
        load_default=list,
        validate=validate.Length(max=MAX_ARGUMENTS),
        metadata={"description": "Positional arguments.", "default": []},
    )
    kwargs = JsonObject(load_default=dict, metadata={"description": "Keyword arguments.", "default": {}})
    countdown = Seconds(metadata={"description": "Earliest start, in seconds from now. Excludes `eta`."})
    eta = Moment(
        format="iso", metadata={"description": "Earliest start, at most ten years from now. Excludes `countdown`."}
    )
    expires = SecondsOrMoment(
        metadata={"description": "Latest start, as a time or in seconds from now. After it, the task is not run."}
    )
    queue = QueueName(metadata={"description": "Queue of the message; by default the queue of the task type."})
    priority = WholeNumber(
        0, 255, metadata={"description": "Priority of the message; its order depends on the broker."}
    )
    labels = Labels(
        load_default=dict, metadata={"description": "Labels stored with the task, for filtering.", "default": {}}
    )

    @ma.validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        if "countdown" in data and "eta" in data:
            raise ValidationError("Send countdown or eta, not both.", "countdown")
        if len(msgspec.json.encode([data.get("args"), data.get("kwargs")])) > MAX_ARGUMENTS_BYTES:
            raise ValidationError(f"All arguments must not be longer than {MAX_ARGUMENTS_BYTES} bytes.")

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Submission:
        scheduled_for = data.get("eta")
        if "countdown" in data:
            scheduled_for = from_now(data["countdown"])
        return Submission(
            call=Call(
                name=data["name"],
                args=data["args"],
                kwargs=data["kwargs"],
                queue=data.get("queue"),
                priority=data.get("priority"),
            ),
            scheduled_for=scheduled_for,
            expires_at=data.get("expires"),
            # Sorted, so that each form of a request that is repeated with an Idempotency-Key has one answer.
            labels=dict(sorted(data["labels"].items())),
        )


class Cancellation(msgspec.Struct, frozen=True):
    """Options of a cancellation."""

    terminate: bool


class CancellationSchema(ma.Schema):
    """Options of a cancellation. Unknown keys are rejected; the body is optional."""

    terminate = Flag(
        load_default=False,
        metadata={
            "description": "Also terminate a running task by killing its worker process.",
            "default": False,
        },
    )

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Cancellation:
        return Cancellation(data["terminate"])


class TokenRequest(msgspec.Struct, frozen=True):
    """Scopes and lifetime of a requested task token."""

    scopes: frozenset[Scope]
    ttl_seconds: int


class TokenRequestSchema(ma.Schema):
    """Scopes and lifetime of a task token. Unknown keys are rejected; the body is optional."""

    scopes = TokenScopes(
        load_default=lambda: [Scope.READ],
        metadata={"description": "Scopes of the token; the key must have them too.", "default": [Scope.READ]},
    )
    ttl_seconds = WholeNumber(
        1,
        MAX_TTL_SECONDS,
        load_default=DEFAULT_TTL_SECONDS,
        metadata={
            "description": "Lifetime in seconds, limited by the expiry of the key.",
            "default": DEFAULT_TTL_SECONDS,
        },
    )

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> TokenRequest:
        return TokenRequest(frozenset(map(Scope, data["scopes"])), data["ttl_seconds"])


def _pairs(labels: Iterable[str]) -> dict[str, str]:
    return {name: text for name, _, text in (label.partition(":") for label in labels)}


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A parsed query of the list: some ids, or filters and a page."""

    task_ids: list[str]
    wanted: Filter
    limit: int
    after: Position | None

    @property
    def cost(self) -> int:
        """The number of requests as which the list counts: one for each `TASKS_PER_REQUEST` that it may return."""
        return math.ceil((len(self.task_ids) or self.limit) / TASKS_PER_REQUEST)


class ListingSchema(ma.Schema):
    """The query of a list. Unknown parameters are rejected."""

    id = fields.List(
        TaskId(),
        load_default=list,
        validate=validate.Length(1, MAX_IDS),
        metadata={"description": "Return these tasks, in this order. Excludes all other parameters."},
    )
    state = fields.List(
        State(),
        load_default=list,
        validate=validate.Length(1, len(TaskState)),
        metadata={"description": "Return tasks in any of these states."},
    )
    name = TaskName(metadata={"description": "Return tasks of this registered task name."})
    label = fields.List(
        Label(),
        load_default=list,
        validate=validate.Length(1, MAX_LABELS),
        metadata={"description": "Return tasks with all of these labels, each as `key:value`, such as `customer:42`."},
    )
    submitted_after = Moment(format="iso", metadata={"description": "Return tasks submitted at this time or later."})
    submitted_before = Moment(format="iso", metadata={"description": "Return tasks submitted before this time."})
    limit = DecimalNumber(
        1,
        MAX_LIMIT,
        load_default=DEFAULT_LIMIT,
        metadata={"description": "Maximum number of tasks per page."},
    )
    cursor = Cursor(metadata={"description": "`next_cursor` of the previous page; repeat the same filters."})

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        if "id" in original:
            others = [name for name in self.fields if name != "id" and name in original]
            if others:
                raise ValidationError({name: ["Cannot be combined with id."] for name in others})
        labels = set(data.get("label", ()))
        if len(_pairs(labels)) < len(labels):
            raise ValidationError("Two values for one label: no task has both.", "label")

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Listing:
        return Listing(
            task_ids=data["id"],
            wanted=Filter(
                states=list(dict.fromkeys(data["state"])),
                name=data.get("name"),
                labels=_pairs(data["label"]),
                submitted_after=data.get("submitted_after"),
                submitted_before=data.get("submitted_before"),
            ),
            limit=data["limit"],
            after=data.get("cursor"),
        )
