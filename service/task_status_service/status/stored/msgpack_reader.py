"""Read msgpack value by value, within a number of values and a depth.

msgspec decodes each scalar. It does not decode containers here, because it would build all of them at once, and because
it hashes arrays that are keys: hashes of numbers are not randomized, so such keys would take quadratic time.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from task_status_service.status.stored.bounds import MAX_MSGPACK_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.plain_json import number_text

#: tag -> bytes of the whole value
_SIZES: Final[Mapping[int, int]] = {
    **dict.fromkeys((*range(0x80), *range(0xE0, 0x100), 0xC0, 0xC2, 0xC3), 1),
    **{0xA0 + length: 1 + length for length in range(32)},
    0xCA: 5,
    0xCB: 9,
    0xCC: 2,
    0xCD: 3,
    0xCE: 5,
    0xCF: 9,
    0xD0: 2,
    0xD1: 3,
    0xD2: 5,
    0xD3: 9,
    0xD4: 3,
    0xD5: 4,
    0xD6: 6,
    0xD7: 10,
    0xD8: 18,
}
#: tag -> bytes of the length, and bytes beside the length and the content
_LENGTHS: Final[Mapping[int, tuple[int, int]]] = {
    0xC4: (1, 1),
    0xC5: (2, 1),
    0xC6: (4, 1),
    0xD9: (1, 1),
    0xDA: (2, 1),
    0xDB: (4, 1),
    0xC7: (1, 2),
    0xC8: (2, 2),
    0xC9: (4, 2),
}
#: tag of an array or a map -> bytes of the number of its items
_COUNTS: Final[Mapping[int, int]] = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


class NotReadable(Exception):
    """These bytes are not msgpack."""


class _EndsEarly(Exception):
    """The bytes end before the value."""


class TooManyValues(Exception):
    """There are more values than the limit, or the bytes are cut; `beginning` contains the items of the map so far."""

    def __init__(self, beginning: dict[Any, Any]) -> None:
        super().__init__()
        self.beginning = beginning


class _Container:
    __slots__ = ("is_map", "items", "left")

    def __init__(self, *, is_map: bool, left: int) -> None:
        self.is_map = is_map
        #: values that are not read yet; a map has two per item
        self.left = left
        self.items: list[Any] = []

    def finished(self) -> Any:
        return _map_of(self.items) if self.is_map else self.items


def _map_of(items: list[Any]) -> dict[Any, Any]:
    """Return a dict of keys and values, as JSON: numbers become text, and keys that are containers are omitted."""
    made: dict[Any, Any] = {}
    for key, value in zip(items[::2], items[1::2], strict=False):
        if isinstance(key, str | bytes | bool | datetime | None):
            made[key] = value
        elif isinstance(key, int | float):
            made[number_text(key)] = value
    return made


def _name_extension(code: int, _data: memoryview) -> str:
    return f"<msgpack extension {code}>"


_decode_scalar: Final = msgspec.msgpack.Decoder(ext_hook=_name_extension).decode


def _container_at(data: bytes, position: int) -> tuple[_Container, int] | None:
    """Return the empty container whose tag is at a position, and the position after its header."""
    tag = data[position]
    if 0x80 <= tag <= 0x9F:  # noqa: PLR2004 - the tags of short containers
        is_map = tag < 0x90  # noqa: PLR2004
        return _Container(is_map=is_map, left=(tag & 0x0F) << is_map), position + 1
    size = _COUNTS.get(tag)
    if size is None:
        return None
    end = position + 1 + size
    is_map = tag >= 0xDE  # noqa: PLR2004 - the tag of a map of 16 bits
    count = int.from_bytes(data[position + 1 : end], "big")
    return _Container(is_map=is_map, left=count << is_map), end


def _scalar_at(data: bytes, position: int) -> tuple[Any, int]:
    """Return the scalar at a position, and the position after it."""
    tag = data[position]
    if tag in _SIZES:
        end = position + _SIZES[tag]
    elif tag in _LENGTHS:
        size, beside = _LENGTHS[tag]
        end = position + beside + size + int.from_bytes(data[position + 1 : position + 1 + size], "big")
    else:
        raise NotReadable
    if end > len(data):
        raise _EndsEarly
    try:
        return _decode_scalar(data[position:end]), end
    except (msgspec.MsgspecError, ValueError) as error:
        raise NotReadable from error


def _read_one(data: bytes, position: int, stack: list[_Container]) -> int:
    """Read one scalar into the innermost container, or open one; return the position after it."""
    if position >= len(data):
        raise _EndsEarly
    stack[-1].left -= 1
    opened = _container_at(data, position)
    if opened is None:
        value, position = _scalar_at(data, position)
        stack[-1].items.append(value)
        return position
    stack.append(opened[0])
    # CPython's recursion limit depends on its version; with this limit all versions read a value the same way.
    if len(stack) > MAX_MSGPACK_DEPTH + 1:
        raise Unreadable("too_deep")
    return opened[1]


def read_plain(data: bytes, *, limit: int, is_cut: bool = False) -> Any:
    """Return the object of a msgpack value.

    Raises:
        NotReadable: the bytes are not msgpack.
        TooManyValues: it has more values than the limit, or ends early because it is cut.
        Unreadable: it is nested too deeply.
    """
    position = 0
    stack = [_Container(is_map=False, left=1)]
    try:
        for _ in range(limit):
            position = _read_one(data, position, stack)
            while not stack[-1].left:
                finished = stack.pop()
                if not stack:
                    return _only(finished, is_complete=position == len(data))
                stack[-1].items.append(finished.finished())
    except _EndsEarly as error:
        if not is_cut:
            raise NotReadable from error
    raise TooManyValues(stack[1].finished() if stack[1:] and stack[1].is_map else {})


def _only(top: _Container, *, is_complete: bool) -> Any:
    if not is_complete:
        raise NotReadable
    return top.items[0]
