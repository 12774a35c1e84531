"""Deserialize the value under Celery's meta key: JSON, YAML, msgpack or pickle, compressed or not.

The first bytes decide the format. Nothing is executed, imported or constructed by a name found in data.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import yaml

from task_status_service.status.stored import compression, msgpack_reader, pickle_reader
from task_status_service.status.stored.beginnings import json_fields, json_status, yaml_fields
from task_status_service.status.stored.bounds import (
    MAX_DEPTH,
    MAX_INTEGER_DIGITS,
    MAX_JSON_DEPTH,
    MAX_READ_DEPTH,
    MAX_YAML_BYTES,
    NODES_PER_MSGPACK_VALUE,
    NODES_PER_OPCODE,
    NODES_PER_YAML_EVENT,
)
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.json_shape import cut_nesting, shape_of

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
#: code of a field that is too large to be read
_TOO_LARGE_CODES: Final[Mapping[str, str]] = {
    "result": "result_too_large",
    "children": "children_truncated",
    "traceback": "truncated_text",
}
_INTEGER_TAG: Final = "tag:yaml.org,2002:int"
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
#: integers of up to 18 digits are below the modulus of Python's hashes of numbers, 2**61 - 1: each has its own hash
_MAX_KEY_DIGITS: Final = 18


class _Stored(msgspec.Struct, frozen=True):
    """The bytes of a value, without compression."""

    data: bytes
    #: the value is longer
    is_cut: bool
    #: the longest known part of the value, to search it for a field
    known: bytes


def deserialize(stored: bytes, codes: set[str], budget: Budget) -> Any:
    """Return the stored object; `codes` collects the diagnostics. An object over the budget is incomplete.

    Raises:
        Unreadable: no state can be read.
    """
    limit = budget.limits.bytes
    if stored.startswith(compression.PREFIX):
        inflated, is_cut = compression.inflate(stored, budget)
        codes.add("was_compressed")
        if inflated.startswith(compression.PREFIX):
            raise Unreadable("compressed_corrupt")
        value = _Stored(inflated, is_cut, inflated)
    else:
        value = _Stored(stored[:limit], len(stored) > limit, stored)
    for beginning, read in _SERIALIZERS:
        if beginning.match(value.data):
            return read(value, codes, budget)
    return _read_json(value, codes, budget)


def _incomplete(fields: Mapping[Any, Any], codes: set[str]) -> dict[Any, Any]:
    """Return what was read of a value that is too large."""
    if "status" not in fields:
        raise Unreadable("too_large")
    codes.add("result_too_large")
    return {"result": pickle_reader.OPAQUE, "task_id": pickle_reader.OPAQUE, **fields}


def _text(stored: bytes, codes: set[str]) -> str:
    if stored.startswith(_BYTE_ORDER_MARK):
        codes.add("bom")
        stored = stored[len(_BYTE_ORDER_MARK) :]
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("not_utf8") from error


def _read_json(stored: _Stored, codes: set[str], budget: Budget) -> Any:
    limit = budget.limits.nodes
    shape = shape_of(stored.data, limit=limit)
    if shape.depth > MAX_JSON_DEPTH:
        raise Unreadable("too_deep")
    if not stored.is_cut and shape.nodes <= limit:
        budget.spend(nodes=shape.nodes)
        return _parse_json(stored.data, codes, depth=shape.depth)
    data = stored.data.removeprefix(_BYTE_ORDER_MARK)
    if data.lstrip()[:1] in {b"[", b'"'}:
        raise Unreadable("not_an_object")
    fields = None if stored.is_cut else json_fields(data)
    if fields is not None:
        return _parse_fields(fields, codes, budget)
    status = json_status(data)
    return _incomplete({} if status is None else {"status": _parse_json(status, codes)}, codes)


def _parse_fields(fields: Mapping[str, bytes], codes: set[str], budget: Budget) -> dict[str, Any]:
    """Parse those fields of an object that fit into the limit together."""
    document: dict[str, Any] = {}
    left = budget.limits.nodes
    for name, stored in fields.items():
        shape = shape_of(stored, limit=left)
        if shape.nodes <= left:
            document[name] = _parse_json(stored, codes, depth=shape.depth)
            left -= shape.nodes
        elif name in _TOO_LARGE_CODES:
            codes.add(_TOO_LARGE_CODES[name])
    if "result" in fields:
        document.setdefault("result", pickle_reader.OPAQUE)
    budget.spend(nodes=budget.limits.nodes - left)
    return document


def _parse_json(stored: bytes, codes: set[str], *, depth: int = 0) -> Any:
    def make_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            codes.add("duplicate_keys")
        return made

    def make_integer(digits: str) -> int | str:
        if len(digits) > MAX_INTEGER_DIGITS:
            codes.add("number_too_long")
            return digits
        return int(digits)

    text = _text(stored, codes)
    if depth > MAX_READ_DEPTH:
        text = cut_nesting(text)
    try:
        return json.loads(text, object_pairs_hook=make_object, parse_int=make_integer)
    except ValueError as error:
        raise Unreadable("invalid_json") from error


def _read_pickle(stored: _Stored, codes: set[str], budget: Budget) -> Any:
    codes.add("pickle")
    limit = budget.limits.nodes // NODES_PER_OPCODE
    budget.spend(nodes=min(budget.limits.nodes, len(stored.data) * NODES_PER_OPCODE))
    try:
        document = pickle_reader.read_plain(stored.data, limit=limit, is_cut=stored.is_cut)
    except pickle_reader.NotReadable as error:
        raise Unreadable("pickle") from error
    except pickle_reader.TooManyOpcodes as error:
        return _incomplete(error.beginning, codes)
    if document is pickle_reader.OPAQUE:
        raise Unreadable("pickle")
    return document


def _read_msgpack(stored: _Stored, codes: set[str], budget: Budget) -> Any:
    limit = budget.limits.nodes // NODES_PER_MSGPACK_VALUE
    budget.spend(nodes=min(budget.limits.nodes, len(stored.data) * NODES_PER_MSGPACK_VALUE))
    try:
        return msgpack_reader.read_plain(stored.data, limit=limit, is_cut=stored.is_cut)
    except msgpack_reader.NotReadable as error:
        raise Unreadable("unsupported_serializer") from error
    except msgpack_reader.TooManyValues as error:
        return _incomplete(error.beginning, codes)


class _YamlLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """A loader of plain data, as `yaml.safe_load`, but without merge keys, which can repeat each other endlessly."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Keep `<<` in the node: it has no constructor, so it raises an error. Make long integers text.

        Hashes of numbers are not randomized: keys with equal hashes would take quadratic time.
        """
        for key, _ in node.value:
            if key.tag == _INTEGER_TAG and len(key.value) > _MAX_KEY_DIGITS:
                key.tag = _TEXT_TAG


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """Return very long integers as text: `1:1:1:…` is in base 60, and its conversion takes quadratic time."""
    digits = loader.construct_scalar(node)
    return digits if len(digits) > MAX_INTEGER_DIGITS else loader.construct_yaml_int(node)


_YamlLoader.add_constructor(_INTEGER_TAG, _construct_integer)


def _read_yaml(stored: _Stored, codes: set[str], budget: Budget) -> Any:
    limit = budget.limits.nodes // NODES_PER_YAML_EVENT
    budget.spend(nodes=min(budget.limits.nodes, len(stored.data)))
    if stored.is_cut or len(stored.data) > MAX_YAML_BYTES:
        return _incomplete(yaml_fields(stored.known), codes)
    text = _text(stored.data, codes)
    try:
        if not _is_short_yaml(text, limit):
            return _incomplete(yaml_fields(stored.known), codes)
        return yaml.load(text, Loader=_YamlLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # PyYAML's constructors do not catch errors of invalid scalars such as `!!int ""` or `!!timestamp x`.
        raise Unreadable("unsupported_serializer") from error


def _is_short_yaml(text: str, limit: int) -> bool:
    """Return whether a text has at most `limit` events, and limit its depth.

    PyYAML composes recursively in C, and would overflow the stack of the process.
    """
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_YamlLoader)):
        if count > limit:
            return False
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable("too_deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return True


#: beginning of a value -> its reader; the first match is used, and JSON without a match
_SERIALIZERS: Final[tuple[tuple[re.Pattern[bytes], Callable[[_Stored, set[str], Budget], Any]], ...]] = (
    (re.compile(rb'\s*[{\["]'), _read_json),
    # protocols 2 to 5 begin with their number; 0 and 1 begin with a dict, a list, or a global name
    (re.compile(rb"\x80[\x02-\x05]|[(][dl]p?\d*\n|}q.|\(}|c[\w.]+\n[\w.]+\n", re.DOTALL), _read_pickle),
    # a map whose first key is a text
    (re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9-\xdb]", re.DOTALL), _read_msgpack),
    # a tag, a directive, the start of a document, or a first key as `yaml.dump` writes it
    (re.compile(rb"(?:\xef\xbb\xbf)?(?:!!|%YAML|---\s|[A-Za-z_][\w-]*:\s)"), _read_yaml),
)
