"""JSON Schema (2020-12) with an end: neither a careless schema nor hostile arguments keep a process busy.

Schemas are announced by workers, and what is checked against them comes from strangers. A few keywords of the library
take quadratic time or worse, and all others may be combined to do so.
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

#: how long one check may take
CHECK_SECONDS: Final = 0.25
#: a pattern is tried on texts up to here, in characters; a longer one passes
MAX_MATCHED_CHARS: Final = 1_000

#: one character of a pattern, and how often it may come; without groups, alternatives and back references
_ATOM: Final = r"(?:[^\\()|\[\]*+?{}^$]|\\[^\d]|\[\^?(?:[^\\\[\]]|\\.)+\])"
_TIMES: Final = r"(?:[*+?]|\{\d+(?:,\d*)?\})"
#: a pattern that begins at the beginning, of no more than two parts that may be longer or shorter: on a text of n
#: characters it takes n² steps at the worst
_QUICK: Final = re.compile(rf"\^(?:{_ATOM}{_TIMES}?)*\$?", re.DOTALL)
_STRETCH: Final = re.compile(r"\\.|[*+?]|\{\d+,\d*\}", re.DOTALL)
_MAX_STRETCHES: Final = 2

_Check = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]
_STANDARD: Final[dict[str, _Check]] = dict(Draft202012Validator.VALIDATORS)
_ends_at: Final = contextvars.ContextVar("ends_at", default=float("inf"))


class TooExpensive(Exception):
    """The check takes too long."""


@functools.lru_cache(maxsize=1_000)
def is_quick(pattern: str) -> bool:
    """Tell whether a pattern cannot take long on a text of `MAX_MATCHED_CHARS`."""
    stretches = sum(not found[0].startswith("\\") for found in _STRETCH.finditer(pattern))
    return stretches <= _MAX_STRETCHES and _QUICK.fullmatch(pattern) is not None


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Check a pattern if it is quick; Python's engine cannot be stopped once it has begun."""
    if isinstance(instance, str) and len(instance) <= MAX_MATCHED_CHARS and is_quick(pattern):
        yield from _STANDARD["pattern"](validator, pattern, instance, schema) or ()


def _unique_items(_validator: Any, is_wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    """Compare as written in JSON, so that 1 and 1.0 are two: the library compares each with each."""
    if is_wanted is True and isinstance(instance, list):
        written = {msgspec.json.encode(item, order="deterministic") for item in instance}
        if len(written) < len(instance):
            yield ValidationError("Not all items are different.")


def _unless_by_pattern(check: _Check) -> _Check:
    """Leave out a keyword where it depends on patterns of names, which are not looked at."""

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
    # Looks for patterns of names in all that the schema refers to.
    "unevaluatedProperties": _nothing,
}

#: makes validators whose errors are to be taken from `errors_of`
BoundedValidator: Final = extend(  # type: ignore[no-untyped-call]  # jsonschema types it not at all
    Draft202012Validator, {name: _timed(check) for name, check in {**_STANDARD, **_OURS}.items()}
)


def errors_of(validator: Any, instance: Any) -> Iterator[ValidationError]:
    """Give what does not fit, one by one.

    Raises:
        TooExpensive: it has taken `CHECK_SECONDS`, by the time that passes between two errors too.
    """
    token = _ends_at.set(time.monotonic() + CHECK_SECONDS)
    try:
        yield from validator.iter_errors(instance)
    finally:
        _ends_at.reset(token)
