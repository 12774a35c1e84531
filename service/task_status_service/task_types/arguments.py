"""Whether the arguments of a submission fit the schema that a worker announced for the task type."""

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

#: the most faults that one answer lists
MAX_FAULTS: Final = 20
#: a message of the validator quotes the schema, which may be long
MAX_DETAIL_LENGTH: Final = 300
#: what the validator says of these quotes names of arguments, and no value
_NAMES_ONLY: Final = frozenset({"required", "additionalProperties", "dependentRequired"})


def check_arguments(task_type: TaskType, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Check arguments, given by position or by name, against what the type takes.

    A type whose schema cannot be used takes anything: announcements are written by workers, and a wrong one is no
    reason to refuse a task.

    Raises:
        InvalidArguments: with a JSON Pointer into the request body for each fault.
    """
    validator = _validator(bytes(task_type.arguments))
    if validator is None:
        return
    positions = {name: index for index, name in enumerate(task_type.positional[: len(args)])}
    named = dict(zip(task_type.positional, args, strict=False)) | kwargs
    found = itertools.chain(
        _misplaced(task_type, args, kwargs),
        (_fault(error, positions) for error in errors_of(validator, named)),
        _faults_of_further(task_type, args),
    )
    try:
        faults = list(itertools.islice(found, MAX_FAULTS))
    except TooExpensive:
        faults = [Fault("the arguments take too long to check", json_pointer(["kwargs"]))]
    except (Unresolvable, RecursionError, re.error):
        return
    if faults:
        raise InvalidArguments(faults=faults)


def _misplaced(task_type: TaskType, args: list[Any], kwargs: dict[str, Any]) -> Iterator[Fault]:
    """Find the arguments that Python would not take where they are given, whatever their values."""
    names = task_type.positional
    for index, name in enumerate(names):
        if name not in kwargs:
            continue
        if index < len(args):
            yield Fault(f"{name!r} is given twice: by name, and by position", json_pointer(["kwargs", name]))
        elif index < task_type.positional_only:
            yield Fault(f"{name!r} must be given by position", json_pointer(["kwargs", name]))
    if len(args) > len(names) and bytes(task_type.var_positional) == b"false":
        yield Fault(f"{len(args)} arguments by position, where at most {len(names)} are taken", json_pointer(["args"]))


def _faults_of_further(task_type: TaskType, args: list[Any]) -> Iterator[Fault]:
    """Check the arguments by position that have no name."""
    further = list(enumerate(args))[len(task_type.positional) :]
    validator = _validator_of_further(bytes(task_type.var_positional), bytes(task_type.arguments)) if further else None
    if validator is None:
        return
    for index, value in further:
        for error in errors_of(validator, value):
            yield Fault(_detail(error)[:MAX_DETAIL_LENGTH], json_pointer(["args", str(index), *_steps(error)]))


@functools.lru_cache(maxsize=1_000)
def _validator(schema: bytes) -> Any:
    """Make a validator once for each schema; None if it is no schema."""
    try:
        document = msgspec.json.decode(schema)
        Draft202012Validator.check_schema(document)
    except (SchemaError, msgspec.MsgspecError, RecursionError):
        return None
    # An empty registry: the default one fetches what a `$ref` names from the network.
    return BoundedValidator(document, registry=Registry())


@functools.lru_cache(maxsize=1_000)
def _validator_of_further(schema: bytes, arguments: bytes) -> Any:
    """Make one of a schema that refers to the definitions of another one; None if none is needed."""
    if schema in (b"true", b"false"):
        # Any are taken, or none: then their number was the fault.
        return None
    definitions = msgspec.json.decode(arguments, type=_Definitions).definitions if arguments[:1] == b"{" else {}
    return _validator(msgspec.json.encode({"allOf": [msgspec.Raw(schema)], "$defs": definitions}))


class _Definitions(msgspec.Struct):
    """What a schema defines for others to refer to."""

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
    """Say what is wrong without the value, which the client has and which may be a secret."""
    if error.validator in _NAMES_ONLY:
        return str(error.message)
    value = repr(error.instance)
    if error.message.startswith(value):
        return f"This value{error.message.removeprefix(value)}"
    return f"This value does not fit `{error.validator}` of the task's arguments."
