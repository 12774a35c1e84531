"""What requests must look like (marshmallow). Answers are structs: status/model.py."""

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
    TokenScopes,
    WholeNumber,
    from_now,
)
from task_status_service.api.requests.parameters import MAX_IDS
from task_status_service.status import TaskState
from task_status_service.use_cases.listing import Filter, Position
from task_status_service.use_cases.submission import Call, Submission

#: of all arguments as they are sent: the broker and the store keep them
MAX_ARGUMENTS_BYTES: Final = 512 * 1024
#: tasks of one page
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
DEFAULT_TTL_SECONDS: Final = 3_600


class SubmissionSchema(ma.Schema):
    """A task to be run once. Unknown keys are refused."""

    name = fields.String(
        required=True,
        validate=validate.Length(1, 256),
        metadata={"description": "The registered task name.", "example": "demo.count"},
    )
    args = fields.List(
        fields.Raw(allow_none=True),
        load_default=list,
        validate=validate.Length(max=MAX_ARGUMENTS),
        metadata={"description": "Arguments by position.", "default": []},
    )
    kwargs = JsonObject(load_default=dict, metadata={"description": "Arguments by name.", "default": {}})
    countdown = Seconds(metadata={"description": "Not before this many seconds from now. Excludes `eta`."})
    eta = Moment(
        format="iso", metadata={"description": "Not before this time, at most ten years away. Excludes `countdown`."}
    )
    expires = SecondsOrMoment(
        metadata={"description": "Drop it if it has not started by this time, or in this many seconds from now."}
    )
    queue = QueueName(metadata={"description": "Where to send it; by default where it belongs."})
    priority = WholeNumber(0, 255, metadata={"description": "As the broker understands it."})
    labels = Labels(load_default=dict, metadata={"description": "Kept with the task, to find it by.", "default": {}})

    @ma.validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        if "countdown" in data and "eta" in data:
            raise ValidationError("Give countdown or eta, not both.", "countdown")
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
            labels=data["labels"],
        )


class Cancellation(msgspec.Struct, frozen=True):
    """How a task is to be canceled."""

    terminate: bool


class CancellationSchema(ma.Schema):
    """How to cancel. Unknown keys are refused; the body may be left out."""

    terminate = Flag(
        load_default=False,
        metadata={
            "description": "Also end it where it runs, by killing the process that runs it.",
            "default": False,
        },
    )

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> Cancellation:
        return Cancellation(data["terminate"])


class TokenRequest(msgspec.Struct, frozen=True):
    """What a task token is to be good for."""

    scopes: frozenset[Scope]
    ttl_seconds: int


class TokenRequestSchema(ma.Schema):
    """What a task token is good for, and how long. Unknown keys are refused; the body may be left out."""

    scopes = TokenScopes(
        load_default=lambda: [Scope.READ],
        metadata={"description": "What it is good for; no more than the key is.", "default": [Scope.READ]},
    )
    ttl_seconds = WholeNumber(
        1,
        MAX_TTL_SECONDS,
        load_default=DEFAULT_TTL_SECONDS,
        metadata={"description": "How long it counts; not longer than the key.", "default": DEFAULT_TTL_SECONDS},
    )

    @ma.post_load
    def _make(self, data: dict[str, Any], **_: Any) -> TokenRequest:
        return TokenRequest(frozenset(map(Scope, data["scopes"])), data["ttl_seconds"])


def _pairs(labels: Iterable[str]) -> dict[str, str]:
    return {name: text for name, _, text in (label.partition(":") for label in labels)}


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: these tasks, or one page of those that fit."""

    task_ids: list[str]
    wanted: Filter
    limit: int
    after: Position | None


class ListingSchema(ma.Schema):
    """The query of a list. Unknown parameters are refused."""

    id = fields.List(
        TaskId(),
        load_default=list,
        validate=validate.Length(1, MAX_IDS),
        metadata={"description": "These tasks, in this order, in one round trip. Excludes all other parameters."},
    )
    state = fields.List(
        State(),
        load_default=list,
        validate=validate.Length(1, len(TaskState)),
        metadata={"description": "In any of these states."},
    )
    name = fields.String(validate=validate.Length(1, 256), metadata={"description": "Of this registered task name."})
    label = fields.List(
        Label(),
        load_default=list,
        validate=validate.Length(1, MAX_LABELS),
        metadata={"description": "With all of these labels, each as `key:value`, such as `customer:42`."},
    )
    submitted_after = Moment(format="iso", metadata={"description": "Submitted at this time or later."})
    submitted_before = Moment(format="iso", metadata={"description": "Submitted before this time."})
    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_LIMIT),
        metadata={"description": "The most tasks of one page."},
    )
    cursor = Cursor(metadata={"description": "`next_cursor` of the page before, with the same filters."})

    @ma.validates_schema(pass_original=True, skip_on_field_errors=False)
    def _check(self, data: dict[str, Any], original: Any, **_: Any) -> None:
        if "id" in original:
            others = [name for name in self.fields if name != "id" and name in original]
            if others:
                raise ValidationError({name: ["Not together with id."] for name in others})
        labels = set(data.get("label", ()))
        if len(_pairs(labels)) < len(labels):
            raise ValidationError("Two values for one key: no task has both.", "label")

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
