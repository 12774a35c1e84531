"""JSON Schema (2020-12) in bounded time, for careless schemas of workers and hostile arguments of clients.

Some keywords of the library take quadratic time or worse, and combinations of the others can do so too.
"""

import contextvars
import functools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

#: limit of one check
CHECK_SECONDS: Final = 0.25
#: longer texts are not checked against patterns
MAX_MATCHED_CHARS: Final = 1_000

#: one character of a pattern and its quantifier; no groups, alternatives or back references
_ATOM: Final = r"(?:[^\\()|\[\]*+?{}^$]|\\[^\d]|\[\^?(?:[^\\\[\]]|\\.)+\])"
_TIMES: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
#: an anchored pattern; with at most two variable quantifiers it takes at most n² steps for n characters
_QUICK: Final = re.compile(rf"\^(?:{_ATOM}{_TIMES}?)*\$?", re.DOTALL)
_VARIABLE: Final = re.compile(r"\\.|[*+?]|\{\d+,\d*\}", re.DOTALL)
_MAX_VARIABLES: Final = 2

_Check = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]
_STANDARD: Final[dict[str, _Check]] = dict(Draft202012Validator.VALIDATORS)
_ends_at: Final = contextvars.ContextVar("ends_at", default=float("inf"))


class TooExpensive(Exception):
    """The check takes too long."""


@functools.lru_cache(maxsize=1_000)
def is_quick(pattern: str) -> bool:
    """Return whether a pattern is fast on any text of `MAX_MATCHED_CHARS`."""
    variables = sum(not found[0].startswith("\\") for found in _VARIABLE.finditer(pattern))
    return variables <= _MAX_VARIABLES and _QUICK.fullmatch(pattern) is not None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check a pattern only if it is quick, because a running match of Python cannot be stopped."""
    if isinstance(instance, str) and len(instance) <= MAX_MATCHED_CHARS and is_quick(pattern):
        yield from _STANDARD["pattern"](validator, pattern, instance, schema) or ()


def _unique_items(_validator: Any, is_wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Compare encoded items in linear time, unlike the library; 1 and 1.0 therefore differ."""
    if is_wanted is True and isinstance(instance, list):
        written = {msgspec.json.encode(item, order="deterministic") for item in instance}
        if len(written) < len(instance):
            yield ValidationError("The items are not unique.")


def _unless_by_pattern(check: _Check) -> _Check:
    """Skip a keyword that depends on `patternProperties`, which is not checked."""

    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if "patternProperties" not in schema:
            yield from check(validator, value, instance, schema) or ()

    return checked


def _nothing(*_: Any) -> Iterator[ValidationError]:
    return iter(())


def _timed(check: _Check) -> _Check:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError] | None:
        if time.monotonic() > _ends_at.get():
            raise TooExpensive
        return check(validator, value, instance, schema)

    return timed


_OURS: Final[dict[str, _Check]] = {
    "pattern": _pattern,
    "uniqueItems": _unique_items,
    "patternProperties": _nothing,
    "additionalProperties": _unless_by_pattern(_STANDARD["additionalProperties"]),
    # It would apply `patternProperties` of all referenced schemas.
    "unevaluatedProperties": _nothing,
}

#: validator class; use `errors_of` instead of `iter_errors`, which has no time limit
BoundedValidator: Final = extend(  # type: ignore[no-untyped-call]  # untyped in jsonschema
    Draft202012Validator, {name: _timed(check) for name, check in {**_STANDARD, **_OURS}.items()}
)


def errors_of(validator: Any, instance: Any) -> Iterator[ValidationError]:
    """Yield the errors of a value.

    Raises:
        TooExpensive: `CHECK_SECONDS` have passed, including the time of the caller between two errors.
    """
    token = _ends_at.set(time.monotonic() + CHECK_SECONDS)
    try:
        yield from validator.iter_errors(instance)
    finally:
        _ends_at.reset(token)
