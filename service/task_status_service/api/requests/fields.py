"""Request fields that marshmallow lacks, with a JSON Schema where apispec cannot derive it."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import msgspec
from marshmallow import ValidationError, fields, validate

from task_status_service.access.task_tokens import TOKEN_SCOPES
from task_status_service.api.requests import clock
from task_status_service.api.requests.cursor import from_cursor
from task_status_service.status import TaskState
from task_status_service.task_types.queue_names import QUEUE_NAME

#: pattern of all task ids
TASK_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")

#: limit of positional arguments, and of named ones
MAX_ARGUMENTS: Final = 1_000
MAX_LABELS: Final = 16
MAX_LABEL_TEXT: Final = 256
#: all labels of a task as JSON
MAX_LABELS_BYTES: Final = 4_096
#: characters of a label filter: name, colon, text
MAX_LABEL: Final = 64 + 1 + MAX_LABEL_TEXT
#: characters of the registered name of a task
MAX_NAME: Final = 256
#: ten years; a later time is probably a mistake
MAX_SECONDS: Final = 10 * 366 * 86_400

_LABEL_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._/-]{0,63}"
#: Text without C0, DEL, C1, line separators and bidirectional overrides and isolates: these break lines, or show an
#: operator the text of one owner in another order. ECMA-262 and Python read the pattern alike.
_PLAIN_CHARACTER: Final = r"[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]"
#: not in the document, because a reader of patterns in UTF-16 finds a surrogate in each emoji
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_PLAIN: Final = re.compile(f"{_PLAIN_CHARACTER}*")
#: RFC 3339 section 5.6, with at most nanoseconds; `datetime.fromisoformat` also reads weeks and times without colons
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_DECIMAL: Final = re.compile(r"[0-9]{1,9}")


def check_plain(text: str) -> None:
    """Require a text without control characters, line separators, bidirectional controls and lone surrogates.

    Raises:
        ValidationError: The text contains one of them.
    """
    if not _PLAIN.fullmatch(text) or _SURROGATE.search(text):
        raise ValidationError("Must not contain control characters.")


class PlainText(fields.String):
    """A text without control characters, of limited length."""

    json_schema: ClassVar = {"pattern": f"^{_PLAIN_CHARACTER}*$"}

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(minimum, maximum), check_plain], **kwargs)


class TaskName(PlainText):
    """The registered name of a task."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(1, MAX_NAME, **kwargs)


class JsonObject(fields.Dict):
    """An object with any JSON values and at most `MAX_ARGUMENTS` keys."""

    json_schema: ClassVar = {"type": "object", "additionalProperties": True, "maxProperties": MAX_ARGUMENTS}

    def __init__(self, **kwargs: Any) -> None:
        names = fields.String(validate=validate.Length(1, 256))
        super().__init__(keys=names, validate=validate.Length(max=MAX_ARGUMENTS), **kwargs)


def _check_size(labels: dict[str, str]) -> None:
    if len(msgspec.json.encode(labels)) > MAX_LABELS_BYTES:
        raise ValidationError(f"Must not be longer than {MAX_LABELS_BYTES} bytes in total.")


class Labels(fields.Dict):
    """Labels of a task: short texts by name."""

    json_schema: ClassVar = {
        "type": "object",
        "additionalProperties": {"type": "string", "maxLength": MAX_LABEL_TEXT, "pattern": f"^{_PLAIN_CHARACTER}*$"},
        "propertyNames": {"pattern": f"^{_LABEL_NAME}$"},
        "maxProperties": MAX_LABELS,
    }

    def __init__(self, **kwargs: Any) -> None:
        names = fields.String(
            validate=validate.Regexp(
                rf"{_LABEL_NAME}\Z",
                error="Must be a label name: up to 64 letters, digits and ._/-, starting with a letter or digit.",
            )
        )
        texts = PlainText(0, MAX_LABEL_TEXT)
        super().__init__(keys=names, values=texts, validate=[validate.Length(max=MAX_LABELS), _check_size], **kwargs)


class QueueName(fields.String):
    """The name of a queue."""

    json_schema: ClassVar = {"pattern": f"^{QUEUE_NAME}$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            validate=validate.Regexp(
                rf"{QUEUE_NAME}\Z",
                error="Must be a queue name: up to 128 letters, digits and ._:@-, starting with a letter or digit.",
            ),
            **kwargs,
        )


class WholeNumber(fields.Integer):
    """An integer in a range. Accepts 60.0, as JSON Schema does, but not true."""

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(strict=True, validate=validate.Range(minimum, maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class DecimalNumber(fields.Integer):
    """An integer in a query: only ASCII digits, because `int` also reads `+5`, `1_0`, spaces and other digits."""

    json_schema: ClassVar = {"type": "integer"}

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


class Flag(fields.Boolean):
    """True or false; the field of marshmallow also accepts texts and numbers."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Seconds(fields.Float):
    """A number of seconds, from 0 to `MAX_SECONDS`; numbers in a text are rejected."""

    json_schema: ClassVar = {"type": "number", "minimum": 0, "maximum": MAX_SECONDS}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        if not 0 <= value <= MAX_SECONDS:
            raise ValidationError(f"Must be from 0 to {MAX_SECONDS} seconds.")
        return float(value)


class Moment(fields.AwareDateTime):
    """An RFC 3339 time with an offset, at most `MAX_SECONDS` from now; deserialized as UTC."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _RFC_3339.fullmatch(value):
            raise ValidationError("Must be an RFC 3339 time with an offset, such as 2026-01-02T03:04:05Z.")
        moment = super()._deserialize(value.upper(), attr, data, **kwargs)
        if abs((moment - datetime.now(UTC)).total_seconds()) > MAX_SECONDS:
            raise ValidationError("Must be within ten years from now.")
        return _to_milliseconds(moment.astimezone(UTC))


class SecondsOrMoment(fields.Field[datetime]):
    """A time, or a number of seconds from now."""

    json_schema: ClassVar = {"anyOf": [Seconds.json_schema, {"type": "string", "format": "date-time"}]}

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, str):
            return _MOMENT.deserialize(value, attr, data, **kwargs)
        return from_now(_SECONDS.deserialize(value, attr, data, **kwargs))


_SECONDS: Final = Seconds()
_MOMENT: Final = Moment(format="iso")


def from_now(seconds: float) -> datetime:
    """Return the time after `seconds` by the clock of the store, to the millisecond."""
    return _to_milliseconds(clock.now() + timedelta(seconds=seconds))


def _to_milliseconds(moment: datetime) -> datetime:
    """Truncate to the precision of a record, so that the 202 response equals later reads."""
    return moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


class TokenScopes(fields.List[str]):
    """Scopes of a task token, each at most once."""

    json_schema: ClassVar = {
        "type": "array",
        # A reference: from an inline enum in a unique array, openapi-generator makes Java code that does not compile.
        "items": {"$ref": "#/components/schemas/TokenScope"},
        "uniqueItems": True,
    }

    def __init__(self, **kwargs: Any) -> None:
        scopes = fields.String(validate=validate.OneOf(sorted(TOKEN_SCOPES)))
        super().__init__(scopes, validate=[validate.Length(1, len(TOKEN_SCOPES)), _check_once], **kwargs)


def _check_once(items: list[str]) -> None:
    if len(set(items)) < len(items):
        raise ValidationError("Must not contain duplicates.")


class TaskId(fields.String):
    """A task id."""

    json_schema: ClassVar = {"pattern": f"^{TASK_ID.pattern}$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            validate=validate.Regexp(
                rf"{TASK_ID.pattern}\Z",
                error="Must be a task id: up to 128 letters, digits and ._:-, starting with a letter or digit.",
            ),
            **kwargs,
        )


class State(fields.Enum[TaskState]):
    """A state, as a reference to the component, so that generated clients have one class for it."""

    json_schema: ClassVar = {"$ref": "#/components/schemas/TaskState"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(TaskState, by_value=fields.String, **kwargs)


class Label(fields.String):
    """A label filter: name, colon, text."""

    json_schema: ClassVar = {"pattern": f"^{_LABEL_NAME}:{_PLAIN_CHARACTER}{{0,{MAX_LABEL_TEXT}}}$"}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(max=MAX_LABEL), check_plain], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        label: str = super()._deserialize(value, attr, data, **kwargs)
        name, colon, text = label.partition(":")
        if not colon or not re.fullmatch(_LABEL_NAME, name):
            raise ValidationError("Must be key:value.")
        if len(text) > MAX_LABEL_TEXT:
            raise ValidationError(f"The value must not be longer than {MAX_LABEL_TEXT} characters.")
        return label


class Cursor(fields.String):
    """A cursor that this service returned."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        try:
            return from_cursor(super()._deserialize(value, attr, data, **kwargs))
        except ValueError as error:
            raise ValidationError("Must be a `next_cursor` that this service returned.") from error
