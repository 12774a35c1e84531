"""The cursor of a list: a position as a text that clients hand back and do not look into."""

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta

from task_status_service.use_cases.listing import Position

_encode = msgspec.json.Encoder().encode
# Up to where a sorted set counts exactly.
_decode = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=2**53)], str]).decode


def to_cursor(position: Position) -> str:
    """Write a position as a cursor: letters, digits, `-` and `_`."""
    return base64.urlsafe_b64encode(_encode((position.at_ms, position.task_id))).rstrip(b"=").decode()


def from_cursor(cursor: str) -> Position:
    """Read a cursor; `ValueError` if it is none of ours."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        position = Position(*_decode(packed))
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(cursor) from error
    # One text for one position: base64 has bits to spare, and JSON has spaces.
    if to_cursor(position) != cursor:
        raise ValueError(cursor)
    return position
