"""Compile a schema in time that grows with its length. An invalid keyword makes the whole schema invalid."""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from task_status_service.task_types.json_schema.applicators import APPLICATORS
from task_status_service.task_types.json_schema.assertions import ASSERTIONS, described, pattern_check
from task_status_service.task_types.json_schema.check import Assertion, Schema

#: limit of the characters of all patterns of a schema: Python compiles some thirty in a millisecond
MAX_PATTERN_CHARS: Final = 2_048

#: keywords that may reject values and are not supported. `format` is an annotation unless its author means otherwise
_SKIPPED: Final = frozenset({"$dynamicRef", "format", "patternProperties", "unevaluatedItems", "unevaluatedProperties"})
_NOTHING_FITS: Final = described("is not allowed")


class InvalidSchema(ValueError):
    """The document is not a JSON Schema, or changes the base of its references."""


def compile_schema(document: bytes) -> Schema:
    """Compile a JSON document.

    Raises:
        InvalidSchema: it is not JSON, or no schema.
    """
    try:
        return _Compiler(msgspec.json.decode(document)).compiled()
    except (ValueError, TypeError, KeyError, RecursionError, UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise InvalidSchema from error


class _Compiler:
    """The compiler of one document, without recursion."""

    def __init__(self, document: Any) -> None:
        self._document = document
        #: schemas by the `id` of their source, which the document keeps
        self._schemas: dict[int, Schema] = {}
        self._waiting: list[tuple[Mapping[str, Any], Schema]] = []
        self._targets: dict[str, Schema | None] = {}
        self._pattern_chars = 0

    def compiled(self) -> Schema:
        root = self.schema(self._document)
        while self._waiting:
            self._fill(*self._waiting.pop())
        return root

    def schema(self, source: Any) -> Schema:
        """Return the schema of a source; it is filled later."""
        if source is True:
            return Schema()
        if source is False:
            return _rejecting()
        if not isinstance(source, dict):
            raise InvalidSchema
        if id(source) not in self._schemas:
            if source is not self._document and "$id" in source:
                raise InvalidSchema
            self._schemas[id(source)] = schema = Schema()
            self._waiting.append((source, schema))
        return self._schemas[id(source)]

    def referenced(self, pointer: str) -> Schema | None:
        """Return the schema at a JSON Pointer within the document; None if it names no schema."""
        if pointer not in self._targets:
            self._targets[pointer] = self._found(pointer)
        return self._targets[pointer]

    def _found(self, pointer: str) -> Schema | None:
        if pointer != "#" and not pointer.startswith("#/"):
            return None
        place = self._document
        for step in unquote(pointer).split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            try:
                place = place[int(name)] if isinstance(place, list) else place[name]
            except (LookupError, TypeError, ValueError):
                return None
        if not isinstance(place, bool | dict):
            return None
        schema = self.schema(place)
        schema.is_referenced = True
        return schema

    def _fill(self, source: Mapping[str, Any], schema: Schema) -> None:
        assertions = [compiled(source[keyword]) for keyword, compiled in ASSERTIONS.items() if keyword in source]
        applicators = [
            compiled(source[keyword], source, self) for keyword, compiled in APPLICATORS.items() if keyword in source
        ]
        schema.has_skipped_keywords = None in applicators or not _SKIPPED.isdisjoint(source)
        if "pattern" in source:
            matches = self._pattern(source["pattern"])
            assertions.append(matches)
            schema.has_skipped_keywords |= matches is None
        schema.assertions = tuple(check for check in assertions if check is not None)
        schema.applicators = tuple(apply for apply in applicators if apply is not None)

    def _pattern(self, pattern: Any) -> Assertion | None:
        if not isinstance(pattern, str):
            raise InvalidSchema
        self._pattern_chars += len(pattern)
        return pattern_check(pattern) if self._pattern_chars <= MAX_PATTERN_CHARS else None


def _rejecting() -> Schema:
    """Return the schema that no value fits."""
    schema = Schema()
    schema.assertions = (lambda _check, _value: _NOTHING_FITS,)
    return schema
