"""Read the fields of a value that is too large to be read as a whole.

msgspec skips the result without building it, at about 400 MB/s. If it rejects the value, or if the value is cut, only a
state at the beginning is read: Celery's JSON starts with it.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from task_status_service.status.stored.bounds import MAX_NAME_CHARS
from task_status_service.status.stored.diagnostics import Unreadable

_NOTHING: Final = msgspec.Raw()

_JSON_STATUS: Final = re.compile(rb'\s*+\{\s*+"status"\s*+:\s*+("[^"\\\x00-\x1f]{1,%d}")' % MAX_NAME_CHARS)
_YAML_FIELD: Final = re.compile(rb"[ ]*+'?([\w.:+-]{1,%d})'?[ ]*+(?:\r?\n|$)" % MAX_NAME_CHARS)


class _Fields(msgspec.Struct):
    """The fields of Celery's meta, small ones first."""

    status: msgspec.Raw = _NOTHING
    task_id: msgspec.Raw = _NOTHING
    date_done: msgspec.Raw = _NOTHING
    name: msgspec.Raw = _NOTHING
    worker: msgspec.Raw = _NOTHING
    queue: msgspec.Raw = _NOTHING
    parent_id: msgspec.Raw = _NOTHING
    group_id: msgspec.Raw = _NOTHING
    retries: msgspec.Raw = _NOTHING
    traceback: msgspec.Raw = _NOTHING
    children: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING


_decode_fields: Final = msgspec.json.Decoder(_Fields).decode


def json_fields(stored: bytes) -> Mapping[str, bytes] | None:
    """Return the fields of a complete JSON object, as JSON; None if msgspec rejects it.

    Raises:
        Unreadable: it is nested too deeply.
    """
    try:
        fields = _decode_fields(stored)
    except RecursionError as error:
        raise Unreadable("too_deep") from error
    except (msgspec.MsgspecError, ValueError):
        return None
    return {name: bytes(raw) for name, raw in msgspec.structs.asdict(fields).items() if raw is not _NOTHING}


def json_status(stored: bytes) -> bytes | None:
    """Return the state at the beginning of a JSON object, as JSON."""
    found = _JSON_STATUS.match(stored)
    return found and found[1]


def yaml_fields(stored: bytes) -> dict[str, str]:
    """Return the short fields of a YAML mapping, each on its own line, as Celery stores them."""
    found: dict[str, str] = {}
    for name in ("status", "task_id", "date_done"):
        line = f"{name}:".encode()
        start = 0 if stored.startswith(line) else stored.find(b"\n" + line) + 1
        value = _YAML_FIELD.match(stored, start + len(line)) if stored.startswith(line, start) else None
        if value is not None:
            found[name] = value[1].decode("ascii", "replace")
    return found
