"""Calls as they are stored: the arguments and the options that the record of the task does not have. Pure."""

from typing import Any, Final

import msgspec

from task_status_service.use_cases.submission import Call

#: arguments by position, by name, priority, whether the client chose the queue; defaults at the end are omitted
_DEFAULTS: Final[tuple[Any, ...]] = ([], {}, None, False)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(list[Any]).decode


class _Packed(msgspec.Struct, frozen=True):
    args: list[Any]
    kwargs: dict[str, Any]
    priority: int | None
    has_queue: bool


def pack_call(call: Call) -> bytes:
    """Pack a call; the record has its name and its queue."""
    parts = [call.args, call.kwargs, call.priority, call.queue is not None]
    while parts and parts[-1] == _DEFAULTS[len(parts) - 1]:
        parts.pop()
    return _encode(parts)


def unpack_call(packed: bytes, *, name: bytes, queue: bytes | None) -> Call | None:
    """Read a call, with name and queue of its record; None if an incompatible version has written it."""
    try:
        parts = _decode(packed)
        given = (*parts, *_DEFAULTS[len(parts) :])
        one = msgspec.convert(dict(zip(_Packed.__struct_fields__, given, strict=True)), _Packed)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return Call(
        name=name.decode("utf-8", "replace"),
        args=one.args,
        kwargs=one.kwargs,
        # Otherwise the queue of the task type, which may have changed since.
        queue=queue.decode("utf-8", "replace") if one.has_queue and queue else None,
        priority=one.priority,
    )
