"""Copy deserialized values to plain JSON that is bounded in depth and size, and always encodable."""

import base64
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, ClassVar, Final

from task_status_service.status.stored.bounds import MAX_DEPTH, MAX_INTEGER_DIGITS, MAX_SAFE_INTEGER
from task_status_service.status.stored.budget import Budget

#: placeholder for containers deeper than `MAX_DEPTH`
DEEPER: Final = "..."
#: placeholder for an object that is not plain data
OBJECT: Final = "<object>"

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_BITS_PER_DIGIT: Final = 3
#: maximum bits of an integer of `MAX_INTEGER_DIGITS` decimal digits
_MAX_INTEGER_BITS: Final = math.ceil(MAX_INTEGER_DIGITS * math.log2(10))
#: kombu's typed values whose `__value__` is a complete text; source: kombu/utils/json.py
_TEXT_TYPES: Final = frozenset({"datetime", "date", "time", "decimal", "bytes", "base64"})


#: size of a node in characters: about its length in JSON, with the separator
_NODE_SIZE: Final = 4
#: nodes between two checks of their number
_NODES_PER_CHECK: Final = 1_000


class TooLarge(Exception):
    """The copy would be larger than its limit."""


class PlainCopy:
    """A copier of values to plain JSON; all copies of one instance share its limits.

    `codes` collects the diagnostics of changed values. The limits are the characters and the nodes: a value that a YAML
    alias or a pickle repeats is counted each time. Texts of more than `longest_text` characters are cut.
    """

    def __init__(
        self,
        codes: set[str],
        budget: Budget,
        *,
        characters: int | None = None,
        nodes: int | None = None,
        longest_text: int | None = None,
    ) -> None:
        """Create a copier with the limits of the present value of a budget, unless others are given."""
        self._codes = codes
        self._budget = budget
        self._left = budget.limits.characters if characters is None else characters
        self._longest_text = longest_text
        self._nodes_left = budget.limits.nodes if nodes is None else min(nodes, budget.limits.nodes)
        self._next_check = self._nodes_left - _NODES_PER_CHECK

    def copy(self, value: Any, depth: int = 0) -> Any:
        """Copy a value that is nested in `depth` containers.

        Raises:
            TooLarge: a limit is reached.
        """
        self._nodes_left -= 1
        if self._nodes_left <= self._next_check:
            self._check()
        copy_kind = self._COPIES.get(type(value))
        if copy_kind is None:
            self._spend(_NODE_SIZE)
            return OBJECT
        return copy_kind(self, value, depth)

    def _check(self) -> None:
        """Let other requests run, and compare the nodes with their limit."""
        self._next_check -= _NODES_PER_CHECK
        self._budget.spend(nodes=_NODES_PER_CHECK)
        if self._nodes_left < 0:
            raise TooLarge

    def _spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise TooLarge

    def _constant(self, value: Any, _depth: int) -> Any:
        self._spend(_NODE_SIZE)
        return value

    def _integer(self, value: int, _depth: int) -> int | str:
        self._spend(_NODE_SIZE)
        if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            return value
        if value.bit_length() > _MAX_INTEGER_BITS:
            # Hexadecimal takes linear time. Such an integer comes from a pickle: JSON keeps its decimal digits as text.
            self._codes.add("number_too_long")
            return self._text(hex(value), 0)
        self._codes.add("integer_beyond_2_53")
        self._spend(value.bit_length() // _BITS_PER_DIGIT)
        return value

    def _number(self, value: float, _depth: int) -> float | None:
        self._spend(_NODE_SIZE)
        if math.isfinite(value):
            return value
        self._codes.add("non_finite_number")
        return None

    def _text(self, value: str, _depth: int) -> str:
        if self._longest_text is not None:
            value = cut(value, self._longest_text, self._codes)
        self._spend(_NODE_SIZE + len(value))
        return whole(value, self._codes)

    def _bytes(self, value: bytes, depth: int) -> str:
        """Return text if the bytes are UTF-8, else base64, as kombu's JSON does."""
        self._spend(len(value))
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = base64.b64encode(value).decode()
        return self._text(text, depth)

    def _time(self, value: date, depth: int) -> str:
        return self._text(value.isoformat(), depth)

    def _list(self, value: Iterable[Any], depth: int) -> Any:
        self._spend(_NODE_SIZE)
        if depth > MAX_DEPTH:
            self._codes.add("too_deep")
            return DEEPER
        return [self.copy(item, depth + 1) for item in value]

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        self._spend(_NODE_SIZE)
        if depth > MAX_DEPTH:
            self._codes.add("too_deep")
            return DEEPER
        if len(value) == 2 and "__type__" in value and "__value__" in value:  # noqa: PLR2004 - the two keys named here
            text = typed_text(value)
            if text is not None:
                return self._text(text, depth)
            self._codes.add("unknown_typed_value")
        return {self._key(key): self.copy(item, depth + 1) for key, item in value.items()}

    def _key(self, key: Any) -> str:
        plain = self.copy(key, MAX_DEPTH)
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)

    _COPIES: ClassVar[Mapping[type, Callable[["PlainCopy", Any, int], Any]]] = {
        type(None): _constant,
        bool: _constant,
        int: _integer,
        float: _number,
        str: _text,
        bytes: _bytes,
        bytearray: _bytes,
        datetime: _time,
        date: _time,
        list: _list,
        tuple: _list,
        set: _list,
        dict: _dict,
    }


def number_text(number: float) -> str:
    """Return a number as JSON text; hexadecimal, in linear time, if it is a very long integer."""
    if isinstance(number, int):
        return hex(number) if number.bit_length() > _MAX_INTEGER_BITS else str(number)
    return json.dumps(number) if math.isfinite(number) else "null"


def typed_text(value: Mapping[Any, Any]) -> str | None:
    """Return kombu's typed value `{"__type__": …, "__value__": …}` as text; None if the type is unknown."""
    kind, content = value["__type__"], value["__value__"]
    if not isinstance(kind, str):
        return None
    if kind in _TEXT_TYPES and isinstance(content, str):
        return content
    if kind == "uuid" and isinstance(content, dict):
        try:
            return str(uuid.UUID(content["hex"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
    return None


def cut(text: str, longest: int, codes: set[str]) -> str:
    """Return a text cut to `longest` characters and an ellipsis."""
    if len(text) <= longest:
        return text
    codes.add("truncated_text")
    return text[:longest] + "…"


def not_empty(text: str | None, codes: set[str]) -> str | None:
    """Return a text that names something; None if it is empty or has only spaces."""
    if text is None or text.strip():
        return text
    codes.add("empty_text")
    return None


def whole(text: str, codes: set[str]) -> str:
    """Return a text without halves of surrogate pairs, which UTF-8 cannot encode."""
    if text.isascii():
        return text
    encodable = _SURROGATE.sub("\ufffd", text)
    if encodable != text:
        codes.add("invalid_unicode")
    return encodable
