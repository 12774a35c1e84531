"""Find the message of a failure: in an object, a list of lines, or the last line of a traceback."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from task_status_worker.record.model import MESSAGE_KEYS

TRACEBACK_START: Final = "Traceback (most recent call last)"


class LastLine(NamedTuple):
    """The exception in the last line of a traceback."""

    module: str | None
    type: str | None
    message: str | None


def text_of(value: Any) -> str:
    """Return a text unchanged, and any other plain JSON as JSON text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def is_lines(value: Any) -> bool:
    """Return whether this is a non-empty list of texts."""
    return isinstance(value, list) and bool(value) and all(isinstance(line, str) for line in value)


def message_in(fields: Mapping[str, Any]) -> str | None:
    """Return the message in an object of any shape, at most one object deep."""
    for key in MESSAGE_KEYS:
        value = fields.get(key)
        if isinstance(value, dict):
            value = next((value[inner] for inner in MESSAGE_KEYS if _is_message(value.get(inner))), None)
        if _is_message(value):
            return str(value)
    errors = fields.get("errors")
    return "; ".join(map(text_of, errors)) if isinstance(errors, list) and errors else None


def _is_message(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def traceback_of(value: Any) -> str | None:
    """Return a traceback that is stored as a text or as lines."""
    if is_lines(value):
        return "\n".join(value)
    return value if _is_message(value) else None


def last_line(traceback: str) -> LastLine:
    """Parse the last line of a traceback: `module.Type: message`, only the type, or any text."""
    line = traceback.rstrip().rpartition("\n")[2].strip()
    path, colon, message = line.partition(":")
    module, _, name = path.rpartition(".")
    if not path.replace(".", "_").isidentifier() or not (colon or name[:1].isupper()):
        return LastLine(None, None, line or None)
    return LastLine(module or None, name or None, message.strip() or None)
