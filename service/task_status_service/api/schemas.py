"""What requests must look like (marshmallow). Answers are structs: status/model.py."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import marshmallow as ma
from marshmallow import ValidationError, fields, validate

from task_status_service.tracker import Submission

#: a task id, ours or a client's: never spliced into a key unless it looks like this
TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

MAX_ARGUMENTS: Final = 1_000
MAX_LABELS: Final = 32
MAX_DEPTH: Final = 64
#: ten years, in seconds: further away is a mistake
MAX_SECONDS: Final = 10 * 366 * 86_400

_QUEUE: Final = validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}\Z", error="Not a queue name.")
_LABEL_NAME: Final = validate.Regexp(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}\Z", error="Not a label name.")


class Seconds(fields.Float):
    """A number of seconds, from 0 to `MAX_SECONDS`; text that looks like a number is none."""

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
    kwargs = fields.Dict(
        keys=fields.String(validate=validate.Length(1, 256)),
        values=fields.Raw(allow_none=True),
        load_default=dict,
        validate=validate.Length(max=MAX_ARGUMENTS),
        metadata={"description": "Arguments by name.", "default": {}},
    )
    countdown = Seconds(metadata={"description": "Not before this many seconds from now. Excludes `eta`."})
    eta = Moment(format="iso", metadata={"description": "Not before this time. Excludes `countdown`."})
    expires = SecondsOrMoment(
        metadata={"description": "Drop it if it has not started by this time, or in this many seconds from now."}
    )
    queue = fields.String(validate=_QUEUE, metadata={"description": "Where to send it; by default where it belongs."})
    priority = fields.Integer(
        strict=True, validate=validate.Range(0, 255), metadata={"description": "As the broker understands it."}
    )
    labels = fields.Dict(
        keys=fields.String(validate=_LABEL_NAME),
        values=fields.String(validate=validate.Length(max=256)),
        load_default=dict,
        validate=validate.Length(max=MAX_LABELS),
        metadata={"description": "Kept with the task, to find it by.", "default": {}},
    )

    @ma.validates_schema
    def _check(self, data: dict[str, Any], **_: Any) -> None:
        if "countdown" in data and "eta" in data:
            raise ValidationError("Give countdown or eta, not both.", "countdown")

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
