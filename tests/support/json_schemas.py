"""Generated JSON Schemas that refer to each other, and small values that often fit them.

They are made by a random generator, because strategies of this depth take hypothesis seconds for each example.
"""

import random
from typing import Any

from hypothesis import strategies as st

_NAMES = ("a", "b", "c")
_TEXTS = ("", "a", "aa", "ab", "b")
_TYPES = ("array", "object", "string", "integer", "number", "null", "boolean")
_REFERENCES = ("#", "#/$defs/a", "#/$defs/b", "#/$defs/c", "#/allOf/0")
_PATTERNS = ("^a*$", "^a*a*b$", "(a+)+", "^[b-c]")
_MAX_LEVELS = 4


def _value(rng: random.Random, levels: int = 0) -> Any:
    kind = rng.randrange(6 if levels < _MAX_LEVELS else 4)
    if kind <= 1:
        return rng.choice((None, True, False, 0, 1, 2, 1.0, 0.5, -1))
    if kind <= 3:  # a third
        return rng.choice(_TEXTS)
    size = rng.randrange(4)
    if kind == 4:
        return [_value(rng, levels + 1) for _ in range(size)]
    return {name: _value(rng, levels + 1) for name in rng.sample(_NAMES, min(size, len(_NAMES)))}


def _schema(rng: random.Random, levels: int = 0) -> Any:
    def inner() -> Any:
        return _schema(rng, levels + 1)

    def some() -> list[Any]:
        return [inner() for _ in range(rng.randrange(1, 4))]

    def named() -> dict[str, Any]:
        return {name: inner() for name in rng.sample(_NAMES, rng.randrange(4))}

    leaves: dict[str, Any] = {
        "$ref": lambda: rng.choice(_REFERENCES),
        "$dynamicRef": lambda: rng.choice(_REFERENCES),
        "type": lambda: rng.choice((rng.choice(_TYPES), rng.sample(_TYPES, 2))),
        "enum": lambda: [_value(rng, 2) for _ in range(3)],
        "const": lambda: _value(rng, 2),
        "minimum": lambda: rng.randrange(3),
        "exclusiveMaximum": lambda: rng.randrange(3),
        "multipleOf": lambda: rng.randrange(1, 3),
        "minLength": lambda: rng.randrange(3),
        "maxItems": lambda: rng.randrange(3),
        "minProperties": lambda: rng.randrange(3),
        "uniqueItems": lambda: rng.random() < 0.8,  # mostly
        "pattern": lambda: rng.choice(_PATTERNS),
        "required": lambda: rng.sample(_NAMES, rng.randrange(3)),
        "dependentRequired": lambda: {"a": rng.sample(_NAMES, rng.randrange(3))},
        "format": lambda: "date",
    }
    containers: dict[str, Any] = {
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
        **dict.fromkeys(("not", "if", "then", "else", "items", "contains", "propertyNames"), inner),
        **dict.fromkeys(("additionalProperties", "unevaluatedItems", "unevaluatedProperties"), inner),
        **dict.fromkeys(("properties", "properties ", "dependentSchemas", "patternProperties"), named),
        "minContains": lambda: rng.randrange(3),
        "maxContains": lambda: rng.randrange(3),
    }
    if rng.randrange(8) == 0:
        return rng.random() < 0.7  # mostly true
    keywords = leaves if levels >= _MAX_LEVELS else leaves | containers
    return {keyword.strip(): keywords[keyword]() for keyword in rng.sample(sorted(keywords), rng.randrange(1, 4))}


def _case(seed: int) -> tuple[Any, Any]:
    rng = random.Random(seed)  # noqa: S311  # examples of a test
    document = {"allOf": [_schema(rng)], "$defs": {name: _schema(rng, 1) for name in _NAMES}}
    return document, _value(rng)


#: a schema and a value
CASES = st.integers(0, 2**48).map(_case)
