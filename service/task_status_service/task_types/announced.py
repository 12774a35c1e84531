"""Read the announcements of workers, which are untrusted: unreadable ones are skipped, and large parts are omitted."""

import re
from typing import Final

import msgspec
from task_status_worker.record.announcement import (
    MAX_CONSUMER_BYTES,
    MAX_PARAMETERS,
    MAX_QUEUES,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_LEVELS,
    MAX_TASK_TYPE_BYTES,
    MAX_TASK_TYPES,
    Consumer,
    TaskType,
)
from task_status_worker.record.keys import SEEN_SECONDS

from task_status_service.task_types.queue_names import MAX_QUEUE_CHARS, is_reserved

#: errors of decoding a stored value
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_TASK_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")
_ANYTHING: Final = msgspec.Raw(b"true")
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def is_task_name(name: str) -> bool:
    """Return whether a text may be the name of a task type."""
    return _TASK_NAME.fullmatch(name) is not None


def read_task_type(stored: bytes, *, now: float) -> TaskType | None:
    """Return an announced task type; None if it is unreadable, too large or too old.

    A schema that exceeds a limit allows anything, and the name of a reserved queue is omitted: the task type is used
    without them.
    """
    if len(stored) > MAX_TASK_TYPE_BYTES:
        return None
    try:
        # msgspec does not check the encoding of the parts that it copies.
        stored.decode()
        announced = msgspec.json.decode(stored, type=TaskType)
    except _UNREADABLE:
        return None
    if now - announced.announced_at >= SEEN_SECONDS or not is_task_name(announced.name):
        return None
    if announced.queue is not None and (len(announced.queue) > MAX_QUEUE_CHARS or is_reserved(announced.queue)):
        announced = msgspec.structs.replace(announced, queue=None)
    schemas = announced.arguments, announced.var_positional
    if len(announced.positional) > MAX_PARAMETERS or not all(_is_small(bytes(schema)) for schema in schemas):
        announced = msgspec.structs.replace(
            announced, arguments=_ANYTHING, var_positional=_ANYTHING, positional=[], positional_only=0
        )
    return announced


def read_consumer(stored: bytes) -> Consumer | None:
    """Return the announcement of a worker instance without reserved queues; None if it is unreadable."""
    if len(stored) > MAX_CONSUMER_BYTES:
        return None
    try:
        announced = msgspec.json.decode(stored, type=Consumer)
    except _UNREADABLE:
        return None
    return Consumer(
        task_types=announced.task_types[:MAX_TASK_TYPES],
        queues=[queue for queue in announced.queues[:MAX_QUEUES] if not is_reserved(queue)],
        announced_at=announced.announced_at,
    )


def _is_small(schema: bytes) -> bool:
    return len(schema) <= MAX_SCHEMA_BYTES and _has_few_levels(schema)


def _has_few_levels(document: bytes) -> bool:
    """Return whether JSON is nested in at most `MAX_SCHEMA_LEVELS`, in linear time and without a parser."""
    if document.count(b"[") + document.count(b"{") <= MAX_SCHEMA_LEVELS:
        return True
    unescaped = document.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(unescaped.split(b'"')[::2]).translate(None, _NO_BRACKETS)
    for _ in range(MAX_SCHEMA_LEVELS):
        # Removes the innermost level.
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not brackets:
            return True
    return False
