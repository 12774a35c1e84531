"""The check of submitted arguments against the schema that a worker announced for the task type."""

import itertools
import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from task_status_worker.record.announcement import TaskType

from task_status_service.errors import Fault, InvalidArguments, json_pointer
from task_status_service.task_types.bounded_cache import BoundedCache
from task_status_service.task_types.json_schema import (
    Check,
    InvalidSchema,
    Schema,
    TooExpensive,
    compile_schema,
    problems_of,
)

log: Final = logging.getLogger(__name__)

#: limit of the faults in one response
MAX_FAULTS: Final = 20
#: schemas that one process caches, and their bytes; compiled, they take twenty to sixty times as much memory
MAX_CACHED: Final = 2_000
MAX_CACHED_BYTES: Final = 1_048_576
_INVALID: Final = "A worker announces an invalid JSON Schema for the task type %s: its arguments are not checked."
_TOO_EXPENSIVE: Final = (
    "The check of arguments of the task type %s took too many steps: they were rejected. Simplify its type hints."
)
#: task types that a warning has named; then all are forgotten, and may be named again
MAX_WARNED: Final = 1_000
#: keys of an object that kombu's JSON decoder replaces by a value of that type, or rejects with the whole message
#: (kombu/utils/json.py, object_hook)
_ENVELOPE: Final = {"__type__", "__value__"}


def check_arguments(task_type: TaskType, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Check positional and named arguments against the task type.

    A type with an invalid schema accepts any arguments, because clients cannot correct the announcement. A check that
    takes too many steps rejects the arguments: otherwise a client could evade the check with many arguments. Few
    arguments never take too many.

    Raises:
        InvalidArguments: the arguments do not fit; each fault has a JSON Pointer into the request body.
    """
    if envelopes := list(itertools.islice(_envelopes({"args": args, "kwargs": kwargs}), MAX_FAULTS)):
        raise InvalidArguments(faults=envelopes)
    schema = _schema_of(bytes(task_type.arguments))
    if schema is None:
        _warn_once(task_type.name, _INVALID)
        return
    positions = {name: index for index, name in enumerate(task_type.positional[: len(args)])}
    named = dict(zip(task_type.positional, args, strict=False)) | kwargs
    check = Check()
    found = itertools.chain(
        _misplaced(task_type, args, kwargs),
        (Fault(detail, json_pointer(_place(steps, positions))) for steps, detail in problems_of(schema, named, check)),
        _faults_of_var_positional(task_type, args, check),
    )
    try:
        faults = list(itertools.islice(found, MAX_FAULTS))
    except TooExpensive:
        _warn_once(task_type.name, _TOO_EXPENSIVE)
        faults = [
            Fault("The check of the arguments takes too many steps: pass fewer values.", json_pointer(["kwargs"]))
        ]
    if faults:
        raise InvalidArguments(faults=faults)


def _envelopes(arguments: dict[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each object that means something else to Celery's decoder than to the client."""
    # The place of a value is its last step and the place of its parent: most values are never named.
    pending: list[tuple[Any, Any]] = [(value, (name, None)) for name, value in arguments.items()]
    while pending:
        value, place = pending.pop()
        if isinstance(value, dict):
            if value.keys() == _ENVELOPE:
                yield Fault(
                    "An object with the two keys `__type__` and `__value__` is not data for Celery: rename a key.",
                    json_pointer(_steps(place)),
                )
            pending += [(one, (key, place)) for key, one in value.items() if isinstance(one, (dict, list))]
        elif isinstance(value, list):
            pending += [(one, (index, place)) for index, one in enumerate(value) if isinstance(one, (dict, list))]


def _steps(place: Any) -> list[str]:
    steps = []
    while place is not None:
        step, place = place
        steps.append(str(step))
    return steps[::-1]


def _misplaced(task_type: TaskType, args: list[Any], kwargs: dict[str, Any]) -> Iterator[Fault]:
    """Yield a fault for each argument that Python would reject because of its place."""
    names = task_type.positional
    for index, name in enumerate(names):
        if name not in kwargs:
            continue
        if index < len(args):
            yield Fault(f"{name!r} must not be passed both by name and by position", json_pointer(["kwargs", name]))
        elif index < task_type.positional_only:
            yield Fault(f"{name!r} must be passed by position", json_pointer(["kwargs", name]))
    if len(args) > len(names) and bytes(task_type.var_positional) == b"false":
        yield Fault(f"has {len(args)} positional arguments, at most {len(names)} are allowed", json_pointer(["args"]))


def _faults_of_var_positional(task_type: TaskType, args: list[Any], check: Check) -> Iterator[Fault]:
    """Yield the faults of positional arguments beyond the named ones, which `*args` receives."""
    further = args[len(task_type.positional) :]
    item = bytes(task_type.var_positional)
    # `false` allows no such arguments, which `_misplaced` reports.
    if not further or item in (b"true", b"false"):
        return
    schema = _schema_of(_schema_of_items(item, bytes(task_type.arguments)))
    if schema is None:
        return
    for (position, *steps), detail in problems_of(schema, further, check):
        yield Fault(detail, json_pointer(["args", str(int(position) + len(task_type.positional)), *steps]))


def _schema_of_items(item: bytes, arguments: bytes) -> bytes:
    """Return the schema of the `*args`, whose schema may refer to `$defs` of the named arguments."""
    try:
        definitions = msgspec.json.decode(arguments, type=_Definitions).definitions
    except msgspec.ValidationError:
        # Not an object.
        definitions = msgspec.Raw(b"{}")
    return msgspec.json.encode({"items": msgspec.Raw(item), "$defs": definitions})


class _Definitions(msgspec.Struct):
    """The `$defs` of a schema."""

    definitions: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="$defs")


def _place(steps: list[str], positions: Mapping[str, int]) -> list[str]:
    """Return the place in the request body of a value in the named arguments."""
    if not steps:
        return ["kwargs"]
    if steps[0] in positions:
        return ["args", str(positions[steps[0]]), *steps[1:]]
    return ["kwargs", *steps]


_cache: Final = BoundedCache[bytes, Schema | None](entries=MAX_CACHED, size=MAX_CACHED_BYTES)
_MISSING: Final = Schema()


def _schema_of(document: bytes) -> Schema | None:
    """Return the compiled schema of a document; None if it is invalid."""
    schema = _cache.get(document, _MISSING)
    if schema is _MISSING:
        try:
            schema = compile_schema(document)
        except InvalidSchema:
            schema = None
        _cache.store(document, schema, len(document))
    return schema


#: the task types that were logged, with the message
_warned: Final[set[tuple[str, str]]] = set()


def _warn_once(name: str, message: str) -> None:
    if (name, message) in _warned:
        return
    if len(_warned) == MAX_WARNED:
        _warned.clear()
    _warned.add((name, message))
    log.warning(message, name)
