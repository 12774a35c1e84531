"""The cursor of a list: an opaque text that encodes a position."""

import base64
import binascii
from typing import Annotated

import msgspec
from msgspec import Meta

from task_status_service.use_cases.listing import Position

_encode = msgspec.json.Encoder().encode
# A sorted set of Redis stores integers exactly up to 2**53.
_decode = msgspec.json.Decoder(tuple[Annotated[int, Meta(ge=0, le=2**53)], str]).decode


def to_cursor(position: Position) -> str:
    """Encode a position as a cursor of letters, digits, `-` and `_`."""
    # Latin-1 has a character for each byte: a forged member of the index may be no text.
    task_id = position.task_id.encode("utf-8", "surrogateescape").decode("latin-1")
    return base64.urlsafe_b64encode(_encode((position.at_ms, task_id))).rstrip(b"=").decode()


def from_cursor(cursor: str) -> Position:
    """Decode a cursor; raise `ValueError` if it is invalid."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at_ms, task_id = _decode(packed)
        position = Position(at_ms, task_id.encode("latin-1").decode("utf-8", "surrogateescape"))
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise ValueError(cursor) from error
    # Accept one spelling per position: base64 has unused bits, and JSON allows spaces.
    if to_cursor(position) != cursor:
        raise ValueError(cursor)
    return position
