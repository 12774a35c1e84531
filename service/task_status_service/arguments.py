"""Whether the arguments of a submission fit the schema that a worker announced for the task type."""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from task_status_service.bounded_schema import BoundedValidator, TooExpensive, errors_of
from task_status_service.catalog import TaskType
from task_status_service.errors import Fault, InvalidArguments
from task_status_service.json_pointer import fragment

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
    names = task_type.positional
    positions = {name: index for index, name in enumerate(names[: len(args)])}
    faults = [
        Fault(f"{name!r} is given twice: by name, and by position", fragment(["kwargs", name]))
        for name in positions
        if name in kwargs
    ]
    if len(args) > len(names) and not task_type.var_positional:
        faults.append(
            Fault(f"{len(args)} arguments by position, where at most {len(names)} are taken", fragment(["args"]))
        )
    try:
        for error in errors_of(validator, dict(zip(names, args, strict=False)) | kwargs):
            faults.append(_fault(error, positions))
            if len(faults) >= MAX_FAULTS:
                break
    except TooExpensive:
        faults.append(Fault("the arguments take too long to check", fragment(["kwargs"])))
    except (Unresolvable, RecursionError, re.error):
        return
    if faults:
        raise InvalidArguments(faults=faults)


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


def _fault(error: ValidationError, positions: Mapping[str, int]) -> Fault:
    steps = [str(step) for step in error.absolute_path]
    if not steps:
        where = ["kwargs"]
    elif steps[0] in positions:
        where = ["args", str(positions[steps[0]]), *steps[1:]]
    else:
        where = ["kwargs", *steps]
    return Fault(_detail(error)[:MAX_DETAIL_LENGTH], fragment(where))


def _detail(error: ValidationError) -> str:
    """Say what is wrong without the value, which the client has and which may be a secret."""
    if error.validator in _NAMES_ONLY:
        return str(error.message)
    value = repr(error.instance)
    if error.message.startswith(value):
        return f"This value{error.message.removeprefix(value)}"
    return f"This value does not fit `{error.validator}` of the task's arguments."
