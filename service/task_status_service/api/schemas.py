"""What requests must look like (marshmallow). Answers are structs: status/model.py."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import marshmallow as ma
import msgspec
from marshmallow import ValidationError, fields, validate

from task_status_service.api.cursor import from_cursor
from task_status_service.caller import Scope
from task_status_service.listing import Filter, Position
from task_status_service.status import TaskState
from task_status_service.submission import Submission
from task_status_service.task_token import MAX_TTL_SECONDS, TOKEN_SCOPES

#: a task id, ours or a client's: never spliced into a key unless it looks like this
TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

MAX_ARGUMENTS: Final = 1_000
#: of all arguments as they are sent: the broker and the store keep them
MAX_ARGUMENTS_BYTES: Final = 512 * 1024
MAX_LABELS: Final = 32
#: so that a record keeps them (record.MAX_FIELD_BYTES), with room for the one that a retry adds
MAX_LABELS_BYTES: Final = 16_000
#: ids of one batch, and tasks of one page
MAX_IDS: Final = 100
MAX_LIMIT: Final = 200
DEFAULT_LIMIT: Final = 50
#: characters of a label to find tasks by: name, colon, text
MAX_LABEL: Final = 63 + 1 + 256
DEFAULT_TTL_SECONDS: Final = 3_600
#: ten years, in seconds: further away is a mistake
MAX_SECONDS: Final = 10 * 366 * 86_400

_LABEL_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._/-]{0,62}"
_QUEUE_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"

# A field whose JSON Schema apispec cannot tell has it as `json_schema` (document.py).


class JsonObject(fields.Dict):
    """An object of any JSON, with at most `MAX_ARGUMENTS` keys."""

    json_schema: ClassVar = {"type": "object", "additionalProperties": True, "maxProperties": MAX_ARGUMENTS}

    def __init__(self, **kwargs: Any) -> None:
        names = fields.String(validate=validate.Length(1, 256))
        super().__init__(keys=names, validate=validate.Length(max=MAX_ARGUMENTS), **kwargs)


def _check_size(labels: dict[str, str]) -> None:
    if len(msgspec.json.encode(labels)) > MAX_LABELS_BYTES:
        raise ValidationError(f"Must not be longer than {MAX_LABELS_BYTES} bytes in all.")


class Labels(fields.Dict):
    """Short texts by name."""

    json_schema: ClassVar = {
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": 256},
        "propertyNames": {"pattern": f"^{_LABEL_NAME}$"},
        "maxProperties": MAX_LABELS,
    }

    def __init__(self, **kwargs: Any) -> None:
        names = fields.String(validate=validate.Regexp(rf"{_LABEL_NAME}\Z", error="Not a label name."))
        texts = fields.String(validate=validate.Length(max=256))
        super().__init__(keys=names, values=texts, validate=[validate.Length(max=MAX_LABELS), _check_size], **kwargs)


class QueueName(fields.String):
    """The name of a queue."""

    json_schema: ClassVar = {"pattern": f"^{_QUEUE_NAME}$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Regexp(rf"{_QUEUE_NAME}\Z", error="Not a queue name."), **kwargs)


class WholeNumber(fields.Integer):
    """A whole number from one to another; Python's True is none."""

    def __init__(self, least: int, most: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(least, most), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """True or false; marshmallow takes texts and numbers for them too."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Seconds(fields.Float):
    """A number of seconds, from 0 to `MAX_SECONDS`; text that looks like a number is none."""

    json_schema: ClassVar = {"type": "number", "minimum": 0, "maximum": MAX_SECONDS}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        if not 0 <= value <= MAX_SECONDS:
            raise ValidationError(f"Must be from 0 to {MAX_SECONDS} seconds.")
        return float(value)


class Moment(fields.AwareDateTime):
    """A time, RFC 3339 with its offset, at most `MAX_SECONDS` away; UTC when read."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        moment = super()._deserialize(value, attr, data, **kwargs)
        if abs((moment - datetime.now(UTC)).total_seconds()) > MAX_SECONDS:
            raise ValidationError("Must be within ten years from now.")
        return _to_milliseconds(moment.astimezone(UTC))


class SecondsOrMoment(fields.Field[datetime]):
    """A time, or a number of seconds from now."""

    json_schema: ClassVar = {"anyOf": [Seconds.json_schema, {"type": "string", "format": "date-time"}]}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, str):
            return _MOMENT.deserialize(value, attr, data, **kwargs)
        return _from_now(_SECONDS.deserialize(value, attr, data, **kwargs))


_SECONDS: Final = Seconds()
_MOMENT: Final = Moment(format="iso")


def _from_now(seconds: float) -> datetime:
    return _to_milliseconds(datetime.now(UTC) + timedelta(seconds=seconds))


def _to_milliseconds(moment: datetime) -> datetime:
    """Cut to what a record keeps, so that the 202 says what a read says."""
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


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
    eta = Moment(format="iso", metadata={"description": "Not before this time. Excludes `countdown`."})
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
            scheduled_for = _from_now(data["countdown"])
        return Submission(
            name=data["name"],
            args=data["args"],
            kwargs=data["kwargs"],
            scheduled_for=scheduled_for,
            expires_at=data.get("expires"),
            queue=data.get("queue"),
            priority=data.get("priority"),
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


class TokenWish(msgspec.Struct, frozen=True):
    """What a task token is to be good for."""

    scopes: frozenset[Scope]
    ttl_seconds: int


class TokenScopes(fields.List[str]):
    """Some of the scopes that a task token may have, each once."""

    json_schema: ClassVar = {
        "type": "array",
        # By name (document.py): of an enum within an array of which each counts once, openapi-generator makes Java that
        # does not compile.
        "items": {"$ref": "#/components/schemas/TokenScope"},
        "uniqueItems": True,
    }

    def __init__(self, **kwargs: Any) -> None:
        scopes = fields.String(validate=validate.OneOf(sorted(TOKEN_SCOPES)))
        super().__init__(scopes, validate=[validate.Length(1, len(TOKEN_SCOPES)), _check_once], **kwargs)


def _check_once(items: list[str]) -> None:
    if len(set(items)) < len(items):
        raise ValidationError("Each once.")


class TokenWishSchema(ma.Schema):
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
    def _make(self, data: dict[str, Any], **_: Any) -> TokenWish:
        return TokenWish(frozenset(map(Scope, data["scopes"])), data["ttl_seconds"])


class TaskId(fields.String):
    """A task id."""

    json_schema: ClassVar = {"pattern": f"^{TASK_ID.pattern}$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Regexp(rf"{TASK_ID.pattern}\Z", error="Not a task id."), **kwargs)


class State(fields.Enum[TaskState]):
    """A state; a reference to the component, so that clients have one class for it."""

    json_schema: ClassVar = {"$ref": "#/components/schemas/TaskState"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TaskState, by_value=fields.String, **kwargs)


class Label(fields.String):
    """One label to find tasks by: its name, a colon, its text."""

    json_schema: ClassVar = {"pattern": f"^{_LABEL_NAME}:"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=validate.Length(max=MAX_LABEL), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        label: str = super()._deserialize(value, attr, data, **kwargs)
        name, colon, _ = label.partition(":")
        if not colon or not re.fullmatch(_LABEL_NAME, name):
            raise ValidationError("Must be key:value.")
        return label


class Cursor(fields.String):
    """A cursor that this service has given."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return from_cursor(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError("Not a cursor of this service.") from error


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
