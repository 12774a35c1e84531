"""Where people put the text of a failure: keys of an object, lists of lines, the last line of a traceback."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

TRACEBACK_START: Final = "Traceback (most recent call last)"

#: the first that holds a text counts
_MESSAGE_KEYS: Final = (
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


class LastLine(NamedTuple):
    """What the last line of a traceback says."""

    module: str | None
    type: str | None
    message: str | None


def text_of(value: Any) -> str:
    """Give a text as it is, and any other plain JSON as compact JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_lines(value: Any) -> bool:
    """Tell whether this is a list of texts, and not an empty one."""
    return isinstance(value, list) and bool(value) and all(isinstance(line, str) for line in value)


def said_in(fields: Mapping[str, Any]) -> str | None:
    """Find the message in an object that an author made up, at most one object down."""
    for key in _MESSAGE_KEYS:
        value = fields.get(key)
        if isinstance(value, dict):
            value = next((value[inner] for inner in _MESSAGE_KEYS if _is_message(value.get(inner))), None)
        if _is_message(value):
            return str(value)
    errors = fields.get("errors")
    return "; ".join(map(text_of, errors)) if isinstance(errors, list) and errors else None


def _is_message(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def traceback_of(value: Any) -> str | None:
    """Give a traceback that is stored as a text or as lines."""
    if is_lines(value):
        return "\n".join(value)
    return value if _is_message(value) else None


def last_line(traceback: str) -> LastLine:
    """Read the last line of a traceback: `module.Type: message`, only the type, or any text."""
    line = traceback.rstrip().rpartition("\n")[2].strip()
    path, colon, message = line.partition(":")
    module, _, name = path.rpartition(".")
    if not path.replace(".", "_").isidentifier() or not (colon or name[:1].isupper()):
        return LastLine(None, None, line or None)
    return LastLine(module or None, name or None, message.strip() or None)
