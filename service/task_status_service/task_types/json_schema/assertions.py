"""Keywords that look at one value. Each function compiles the value of a keyword, or raises `ValueError`."""

import decimal
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from task_status_service.task_types.json_schema.check import (
    BYTES_PER_STEP,
    MAX_PATTERN_STEPS,
    NAMES_PER_STEP,
    Assertion,
    Check,
)

#: a description may quote the schema, which may be long
MAX_DETAIL_CHARS: Final = 300
#: longer texts are not matched
MAX_MATCHED_CHARS: Final = 1_000

#: one character of a pattern and its quantifier; no groups, alternatives or back references
_ATOM: Final = r"(?:[^\\()|\[\]*+?{}^$]|\\[^\d]|\[\^?(?:[^\\\[\]]|\\.)+\])"
_TIMES: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
#: an anchored pattern; with at most two variable quantifiers it takes at most n² steps for n characters
_QUICK: Final = re.compile(rf"\^(?:{_ATOM}{_TIMES}?)*\$?", re.DOTALL)
_VARIABLE: Final = re.compile(r"\\.|[*+?]|\{\d+,\d*\}", re.DOTALL)
_MAX_VARIABLES: Final = 2

_TYPES: Final[dict[str, Callable[[Any], bool]]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}
_is_number: Final = _TYPES["number"]
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def described(problem: str) -> str:
    """Return the description of a problem, which may quote the schema but never the value."""
    return f"This value {problem}"[:MAX_DETAIL_CHARS]


def _type(wanted: Any) -> Assertion:
    names = wanted if isinstance(wanted, list) else [wanted]
    require(bool(names))
    # Raises TypeError for a name that is a list or an object.
    fits = [_TYPES[name] for name in names]
    detail = described(f"is not of type {', '.join(map(repr, names))}")
    if len(fits) == 1:
        (fits_one,) = fits
        return lambda _, value: None if fits_one(value) else detail
    return lambda _, value: None if any(fits_one(value) for fits_one in fits) else detail


def _enum(members: Any) -> Assertion:
    require(isinstance(members, list))
    texts = frozenset(member for member in members if isinstance(member, str))
    others = [member for member in members if not isinstance(member, str)]
    detail = described(f"is not one of {members!r}")

    def find_problem(check: Check, value: Any) -> str | None:
        if isinstance(value, str):
            return None if value in texts else detail
        return None if any(_are_equal(check, member, value) for member in others) else detail

    return find_problem


def _const(wanted: Any) -> Assertion:
    detail = described(f"is not {wanted!r}")
    return lambda check, value: None if _are_equal(check, wanted, value) else detail


def _are_equal(check: Check, one: Any, other: Any) -> bool:
    """Compare two JSON values; true and 1 differ, but 1 and 1.0 do not."""
    # A container takes longer than a scalar.
    check.spend(3 if isinstance(one, list | dict) else 1)
    if isinstance(one, list):
        return (
            isinstance(other, list)
            and len(one) == len(other)
            and all(_are_equal(check, *pair) for pair in zip(one, other, strict=True))
        )
    if isinstance(one, dict):
        if not isinstance(other, dict) or len(one) != len(other):
            return False
        check.spend(len(one) // NAMES_PER_STEP)
        return one.keys() == other.keys() and all(_are_equal(check, one[name], other[name]) for name in one)
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


def _limit(is_within: Callable[[Any, Any], bool], detail: str) -> Callable[[Any], Assertion]:
    """Return the compiler of a keyword that limits numbers."""

    def compiled(limit: Any) -> Assertion:
        require(_is_number(limit))
        text = described(f"{detail} {limit!r}")
        return lambda _, value: text if _is_number(value) and not is_within(value, limit) else None

    return compiled


def _multiple_of(divisor: Any) -> Assertion:
    require(_is_number(divisor) and divisor > 0)
    detail = described(f"is not a multiple of {divisor!r}")
    # As written: 0.3 is a multiple of 0.1, although their binary values are not.
    exact = decimal.Decimal(repr(divisor))

    def find_problem(_: Check, value: Any) -> str | None:
        if not _is_number(value):
            return None
        try:
            return detail if decimal.Decimal(repr(value)) % exact else None
        except decimal.InvalidOperation:
            # The quotient has more digits than the context.
            return None

    return find_problem


def _size(kind: type, *, is_least: bool, detail: str) -> Callable[[Any], Assertion]:
    """Return the compiler of a keyword that limits the length of a kind of values."""

    def compiled(limit: Any) -> Assertion:
        size = natural(limit)
        text = described(f"{detail} ({'at least' if is_least else 'at most'} {size})")

        def find_problem(_: Check, value: Any) -> str | None:
            if not isinstance(value, kind):
                return None
            length = len(value)  # type: ignore[arg-type]  # a text, a list or an object
            return text if (length < size if is_least else length > size) else None

        return find_problem

    return compiled


def variables_of(pattern: str) -> int | None:
    """Return the number of variable quantifiers of a pattern; None if it may be slow on `MAX_MATCHED_CHARS`."""
    variables = sum(not found[0].startswith("\\") for found in _VARIABLE.finditer(pattern))
    return variables if variables <= _MAX_VARIABLES and _QUICK.fullmatch(pattern) else None


def pattern_check(pattern: str) -> Assertion | None:
    """Compile a pattern; return None if it may be slow, or if Python rejects it.

    A running match of Python cannot be stopped.
    """
    variables = variables_of(pattern)
    if variables is None:
        return None
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError):
        return None
    detail = described(f"does not match {pattern!r}")

    def find_problem(check: Check, value: Any) -> str | None:
        if not isinstance(value, str):
            return None
        cost = len(value) ** max(1, variables)
        if len(value) > MAX_MATCHED_CHARS or check.pattern_steps + cost > MAX_PATTERN_STEPS:
            check.skipped += 1
            return None
        check.pattern_steps += cost
        return None if search(value) else detail

    return find_problem


def _unique_items(is_wanted: Any) -> Assertion | None:
    """Compare encoded items, in linear time; 1 and 1.0, which are equal, therefore differ."""
    require(isinstance(is_wanted, bool))

    detail = described("has items that are not unique")

    def find_problem(check: Check, value: Any) -> str | None:
        if not isinstance(value, list):
            return None
        written = set()
        for item in value:
            encoded = _encode(item)
            check.spend(1 + len(encoded) // BYTES_PER_STEP)
            written.add(encoded)
        if len(written) < len(value):
            return detail
        # Numbers with a fraction or an exponent may be equal to others.
        check.skipped += any(b"." in encoded or b"e" in encoded for encoded in written)
        return None

    return find_problem if is_wanted else None


def natural(number: Any) -> int:
    """Return the value of a keyword that is a natural number; otherwise raise `ValueError`."""
    require(_TYPES["integer"](number) and number >= 0)
    return int(number)


def require(condition: bool) -> None:
    """Raise `ValueError` unless the value of a keyword is valid."""
    if not condition:
        raise ValueError


#: compilers by keyword, without `pattern`. They raise ValueError, TypeError or KeyError for an invalid value, and
#: return None if no value can violate the keyword
ASSERTIONS: Final[Mapping[str, Callable[[Any], Assertion | None]]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "minimum": _limit(lambda value, limit: value >= limit, "is less than the minimum of"),
    "maximum": _limit(lambda value, limit: value <= limit, "is greater than the maximum of"),
    "exclusiveMinimum": _limit(lambda value, limit: value > limit, "is not greater than"),
    "exclusiveMaximum": _limit(lambda value, limit: value < limit, "is not less than"),
    "multipleOf": _multiple_of,
    "minLength": _size(str, is_least=True, detail="is too short"),
    "maxLength": _size(str, is_least=False, detail="is too long"),
    "minItems": _size(list, is_least=True, detail="has too few items"),
    "maxItems": _size(list, is_least=False, detail="has too many items"),
    "minProperties": _size(dict, is_least=True, detail="has too few properties"),
    "maxProperties": _size(dict, is_least=False, detail="has too many properties"),
    "uniqueItems": _unique_items,
}
