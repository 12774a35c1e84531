"""JSON of strangers, bounded: how deep, how many values, how long a text, how large a number, and each key once."""

import re
from typing import Any, Final

import msgspec

#: levels of values: the body is the first one, what it holds the second
MAX_LEVELS: Final = 32
#: values of all levels; the names of an object's members do not count
MAX_VALUES: Final = 10_000
#: characters of a text, or of the name of a member
MAX_TEXT_CHARS: Final = 256 * 1024
#: what any reader of JSON can hold: 64 bits, with a sign or without
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**64 - 1

#: linear: each byte is looked at once, also where a text does not end
_TEXT: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)


class UnreadableJson(ValueError):
    """The body is not JSON, or beyond a bound; the message says which."""


def read_json(body: bytes) -> Any:
    """Read a body.

    Stricter than RFC 8259 where readers differ (section 4): an object that gives a member twice is refused, for what
    reads it next may take the other one.

    Raises:
        UnreadableJson: it is not JSON, or beyond one of the bounds above.
    """
    # Two for each text, and no more than two texts for each value; a lower bound, which costs nothing.
    if body.count(b'"') - body.count(b'\\"') > 4 * MAX_VALUES:
        raise _too_many()
    # What is left is one comma for each value but the first of a container, and one colon for each member.
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
        raise UnreadableJson("The body has an object that gives one member twice.")
    return value


def _checked(body: Any) -> int:
    """Check the bounds, level by level and not by recursion; give how many members all objects have."""
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
