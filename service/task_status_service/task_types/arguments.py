"""The check of submitted arguments against the schema that a worker announced for the task type."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable
from task_status_worker.record.announcement import TaskType

from task_status_service.errors import Fault, InvalidArguments, json_pointer
from task_status_service.task_types.bounded_schema import BoundedValidator, TooExpensive, errors_of

#: limit of the faults in one response
MAX_FAULTS: Final = 20
#: characters; a message of the validator quotes the schema, which may be long
MAX_DETAIL_LENGTH: Final = 300
#: keywords whose messages quote names of arguments but no value
_NAMES_ONLY: Final = frozenset({"required", "additionalProperties", "dependentRequired"})


def check_arguments(task_type: TaskType, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Check positional and named arguments against the task type.

    A type with an invalid schema accepts any arguments, because clients cannot correct the announcement.

    Raises:
        InvalidArguments: the arguments do not fit; each fault has a JSON Pointer into the request body.
    """
    validator = _validator(bytes(task_type.arguments))
    if validator is None:
        return
    positions = {name: index for index, name in enumerate(task_type.positional[: len(args)])}
    named = dict(zip(task_type.positional, args, strict=False)) | kwargs
    found = itertools.chain(
        _misplaced(task_type, args, kwargs),
        (_fault(error, positions) for error in errors_of(validator, named)),
        _faults_of_var_positional(task_type, args),
    )
    try:
        faults = list(itertools.islice(found, MAX_FAULTS))
    except TooExpensive:
        faults = [Fault("the check of the arguments took too long", json_pointer(["kwargs"]))]
    except (Unresolvable, RecursionError, re.error):
        return
    if faults:
        raise InvalidArguments(faults=faults)


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


def _faults_of_var_positional(task_type: TaskType, args: list[Any]) -> Iterator[Fault]:
    """Yield the faults of positional arguments beyond the named ones, which `*args` receives."""
    further = list(enumerate(args))[len(task_type.positional) :]
    validator = (
        _validator_of_var_positional(bytes(task_type.var_positional), bytes(task_type.arguments)) if further else None
    )
    if validator is None:
        return
    for index, value in further:
        for error in errors_of(validator, value):
            yield Fault(_detail(error)[:MAX_DETAIL_LENGTH], json_pointer(["args", str(index), *_steps(error)]))


@functools.lru_cache(maxsize=1_000)
def _validator(schema: bytes) -> Any:
    """Return the cached validator of a schema; None if the schema is invalid."""
    try:
        document = msgspec.json.decode(schema)
        Draft202012Validator.check_schema(document)
    except (SchemaError, msgspec.MsgspecError, RecursionError):
        return None
    # The default registry would fetch the URL of a `$ref` from the network.
    return BoundedValidator(document, registry=Registry())


@functools.lru_cache(maxsize=1_000)
def _validator_of_var_positional(schema: bytes, arguments: bytes) -> Any:
    """Return the validator of the `*args` schema, which may refer to `$defs` of `arguments`; None without a schema."""
    if schema in (b"true", b"false"):
        # Any values are allowed, or no such arguments, which `_misplaced` reports.
        return None
    definitions = msgspec.json.decode(arguments, type=_Definitions).definitions if arguments[:1] == b"{" else {}
    return _validator(msgspec.json.encode({"allOf": [msgspec.Raw(schema)], "$defs": definitions}))


class _Definitions(msgspec.Struct):
    """The `$defs` of a schema."""

    definitions: Any = msgspec.field(default_factory=dict, name="$defs")


def _fault(error: ValidationError, positions: Mapping[str, int]) -> Fault:
    steps = _steps(error)
    if not steps:
        where = ["kwargs"]
    elif steps[0] in positions:
        where = ["args", str(positions[steps[0]]), *steps[1:]]
    else:
        where = ["kwargs", *steps]
    return Fault(_detail(error)[:MAX_DETAIL_LENGTH], json_pointer(where))


def _steps(error: ValidationError) -> list[str]:
    return [str(step) for step in error.absolute_path]


def _detail(error: ValidationError) -> str:
    """Return the message without the value, which may be a secret."""
    if error.validator in _NAMES_ONLY:
        return str(error.message)
    value = repr(error.instance)
    if error.message.startswith(value):
        return f"This value{error.message.removeprefix(value)}"
    return f"This value does not fit `{error.validator}` of the task's arguments."
