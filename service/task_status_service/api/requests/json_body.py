"""Untrusted JSON bodies: limits of depth, values, text length and integers, and no duplicate members."""

import re
from typing import Any, Final

import msgspec

#: nesting levels, including the body itself
MAX_LEVELS: Final = 32
#: values on all levels, without the names of members
MAX_VALUES: Final = 10_000
#: characters of a text, or of the name of a member
MAX_TEXT_CHARS: Final = 256 * 1024
#: integers of 64 bits, signed or unsigned, which all JSON readers support
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

#: linear: the pattern reads each byte once, even in an unterminated text
_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


class UnreadableJson(ValueError):
    """The body is not JSON, or exceeds a limit, which the message names."""


def read_json(body: bytes) -> Any:
    """Read a body.

    Stricter than RFC 8259 where readers differ (section 4): an object with a duplicate member is rejected, because the
    next reader may use the other value.

    Raises:
        UnreadableJson: The body is not JSON, or exceeds a limit.
    """
    # Two quotes per text and at most two texts per value: a cheap check before parsing.
    if body.count(b'"') - body.count(b'\\"') > 4 * MAX_VALUES:
        raise _too_many()
    # Without texts, commas separate the values of a container, and each member has one colon.
    marks = _TEXT.sub(b"", body)
    if marks.count(b",") >= MAX_VALUES:
        raise _too_many()
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnreadableJson(f"The body is not JSON: {error}.") from error
    except RecursionError as error:
        raise _too_deep() from error
    if _checked(value) != marks.count(b":"):
        raise UnreadableJson("The body has an object with a duplicate member.")
    return value


def _checked(body: Any) -> int:
    """Check the limits level by level, without recursion; return the number of members of all objects."""
    values = members = 0
    level = [body]
    for _ in range(MAX_LEVELS):
        values += len(level)
        if values > MAX_VALUES:
            raise _too_many()
        inner: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                members += len(value)
                for name in value:
                    _check_text(name)
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            elif isinstance(value, int) and not MIN_INTEGER <= value <= MAX_INTEGER:
                raise UnreadableJson("The body has an integer of more than 64 bits.")
        if not inner:
            return members
        level = inner
    raise _too_deep()


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT_CHARS:
        raise UnreadableJson(f"The body has a text of more than {MAX_TEXT_CHARS} characters.")


def _too_deep() -> UnreadableJson:
    return UnreadableJson(f"The body is nested deeper than {MAX_LEVELS} levels.")


def _too_many() -> UnreadableJson:
    return UnreadableJson(f"The body has more than {MAX_VALUES} values.")
