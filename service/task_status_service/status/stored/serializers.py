"""Deserialize the value under Celery's meta key: JSON, YAML, msgpack or pickle, compressed or not.

The first bytes decide the format. Nothing is executed, imported or constructed by a name found in data.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec
import yaml

from task_status_service.status.stored import compression, pickle_reader
from task_status_service.status.stored.bounds import (
    MAX_DEPTH,
    MAX_INTEGER_DIGITS,
    MAX_MSGPACK_BYTES,
    MAX_MSGPACK_DEPTH,
    MAX_STORED_BYTES,
    MAX_YAML_BYTES,
)
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.json_depth import cut_nesting

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def deserialize(stored: bytes, codes: set[str]) -> Any:
    """Return the stored object; `codes` collects the diagnostics.

    Raises:
        Unreadable: no state can be read.
    """
    if len(stored) > MAX_STORED_BYTES:
        raise Unreadable("too_large")
    if stored.startswith(compression.PREFIX):
        stored = compression.inflate(stored)
        codes.add("was_compressed")
        if stored.startswith(compression.PREFIX):
            raise Unreadable("compressed_corrupt")
    for beginning, read in _SERIALIZERS:
        if beginning.match(stored):
            return read(stored, codes)
    return _read_json(stored, codes)


def _text(stored: bytes, codes: set[str]) -> str:
    if stored.startswith(_BYTE_ORDER_MARK):
        codes.add("bom")
        stored = stored[len(_BYTE_ORDER_MARK) :]
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        raise Unreadable("not_utf8") from error


def _read_json(stored: bytes, codes: set[str]) -> Any:
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

    try:
        return json.loads(cut_nesting(_text(stored, codes)), object_pairs_hook=make_object, parse_int=make_integer)
    except ValueError as error:
        raise Unreadable("invalid_json") from error


def _read_pickle(stored: bytes, codes: set[str]) -> Any:
    codes.add("pickle")
    try:
        document = pickle_reader.read_plain(stored)
    except pickle_reader.NotReadable as error:
        raise Unreadable("pickle") from error
    except pickle_reader.TooManyOpcodes as error:
        codes.add("result_too_large")
        return {"result": pickle_reader.OPAQUE, "task_id": pickle_reader.OPAQUE, **error.beginning}
    if document is pickle_reader.OPAQUE:
        raise Unreadable("pickle")
    return document


def _read_msgpack(stored: bytes, _codes: set[str]) -> Any:
    if len(stored) > MAX_MSGPACK_BYTES:
        raise Unreadable("too_large")
    try:
        document = msgspec.msgpack.decode(stored, ext_hook=_name_extension)
    except (msgspec.MsgspecError, ValueError, TypeError) as error:
        # msgspec 0.20 raises TypeError for a map that is the key of a map.
        raise Unreadable("unsupported_serializer") from error
    except RecursionError as error:
        raise Unreadable("too_deep") from error
    # CPython's recursion limit depends on its version; with this limit all versions read a value the same way.
    if _is_deeper_than(MAX_MSGPACK_DEPTH, document):
        raise Unreadable("too_deep")
    return document


def _is_deeper_than(levels: int, document: Any) -> bool:
    """Return whether more than `levels` containers are nested; linear, without recursion."""
    layer = [document]
    for _ in range(levels):
        layer = [
            child
            for container in layer
            if isinstance(container, dict | list | tuple)
            for child in ([*container, *container.values()] if isinstance(container, dict) else container)
            if isinstance(child, dict | list | tuple)
        ]
        if not layer:
            return False
    return True


def _name_extension(code: int, _data: memoryview) -> str:
    return f"<msgpack extension {code}>"


class _YamlLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # chosen at run time
    """A loader of plain data, as `yaml.safe_load`, but without merge keys, which can repeat each other endlessly."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Keep `<<` in the node: it has no constructor, so it raises an error."""


def _construct_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Any:
    """Return very long integers as text: `1:1:1:…` is in base 60, and its conversion takes quadratic time."""
    digits = loader.construct_scalar(node)
    return digits if len(digits) > MAX_INTEGER_DIGITS else loader.construct_yaml_int(node)


_YamlLoader.add_constructor("tag:yaml.org,2002:int", _construct_integer)


def _read_yaml(stored: bytes, codes: set[str]) -> Any:
    if len(stored) > MAX_YAML_BYTES:
        raise Unreadable("too_large")
    text = _text(stored, codes)
    try:
        _check_yaml_depth(text)
        return yaml.load(text, Loader=_YamlLoader)  # noqa: S506 - a subclass of the safe loader
    except (yaml.YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        # PyYAML's constructors do not catch errors of invalid scalars such as `!!int ""` or `!!timestamp x`.
        raise Unreadable("unsupported_serializer") from error


def _check_yaml_depth(text: str) -> None:
    """Limit the depth by events: PyYAML composes recursively in C, and would overflow the stack of the process."""
    depth = 0
    for event in yaml.parse(text, Loader=_YamlLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise Unreadable("too_deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


#: beginning of a value -> its reader; the first match is used, and JSON without a match
_SERIALIZERS: Final[tuple[tuple[re.Pattern[bytes], Callable[[bytes, set[str]], Any]], ...]] = (
    (re.compile(rb'\s*[{\["]'), _read_json),
    # protocols 2 to 5 begin with their number; 0 and 1 begin with a dict, a list, or a global name
    (re.compile(rb"\x80[\x02-\x05]|[(][dl]p?\d*\n|}q.|\(}|c[\w.]+\n[\w.]+\n", re.DOTALL), _read_pickle),
    # a map whose first key is a text
    (re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9-\xdb]", re.DOTALL), _read_msgpack),
    # a tag, a directive, the start of a document, or a first key as `yaml.dump` writes it
    (re.compile(rb"(?:\xef\xbb\xbf)?(?:!!|%YAML|---\s|[A-Za-z_][\w-]*:\s)"), _read_yaml),
)
