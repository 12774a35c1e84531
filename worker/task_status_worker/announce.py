"""What a worker says about its task types: name, doc, queue, and the arguments as JSON Schema from the signature."""

import inspect
import logging
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Final

import msgspec

logger = logging.getLogger(__name__)

#: `*args` and `**kwargs`: no parameters of their own
_VAR_KINDS: Final = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one task type."""

    name: str
    doc: str | None
    #: where Celery sends it unless told otherwise
    queue: str
    ignore_result: bool
    #: JSON Schema of an object: one property per parameter
    arguments: dict[str, Any]
    #: parameters that may be given by position, in their order
    positional: list[str]
    #: whether any number of further positional arguments is taken
    var_positional: bool
    #: seconds since the epoch, by Redis's clock
    announced_at: int


def announcements(app: Any, *, now: int) -> Mapping[str, bytes]:
    """Describe each task type of an app, packed, by name; not Celery's own."""
    packed = {}
    for name, task in app.tasks.items():
        if name.startswith("celery."):
            continue
        try:
            packed[name] = msgspec.json.encode(announcement(app, task, now=now))
        except Exception:
            # One that cannot be described must not hide the others.
            logger.exception("task-status cannot announce the task type %s", name)
    return packed


def announcement(app: Any, task: Any, *, now: int) -> Announcement:
    """Describe one task type."""
    arguments, positional, var_positional = describe_arguments(task.run)
    doc = inspect.cleandoc(inspect.unwrap(task.run).__doc__ or task.__doc__ or "")
    return Announcement(
        name=task.name,
        doc=doc or None,
        queue=_queue_of(app, task),
        ignore_result=bool(task.ignore_result),
        arguments=arguments,
        positional=positional,
        var_positional=var_positional,
        announced_at=now,
    )


def describe_arguments(function: Any) -> tuple[dict[str, Any], list[str], bool]:
    """Give the schema of a function's arguments, the names that may be given by position, and whether it has `*args`.

    A hint that says nothing to JSON Schema, or cannot be resolved, allows anything.
    """
    parameters = list(inspect.signature(function).parameters.values())
    kinds = {parameter.kind for parameter in parameters}
    named = [parameter for parameter in parameters if parameter.kind not in _VAR_KINDS]
    definitions: dict[str, Any] = {}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            parameter.name: _schema_of(_hint_of(function, parameter), definitions) | _default_of(parameter)
            for parameter in named
        },
        "required": [parameter.name for parameter in named if parameter.default is parameter.empty],
        "additionalProperties": inspect.Parameter.VAR_KEYWORD in kinds,
    }
    if definitions:
        schema["$defs"] = definitions
    positional = [parameter.name for parameter in named if parameter.kind is not parameter.KEYWORD_ONLY]
    return schema, positional, inspect.Parameter.VAR_POSITIONAL in kinds


def _hint_of(function: Any, parameter: inspect.Parameter) -> Any:
    """Resolve one hint by itself, so that one that cannot be resolved does not take the others along."""
    if parameter.annotation is parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except Exception:  # noqa: BLE001  # a hint is code of the author's, evaluated
        return Any


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Give the JSON Schema of one hint, and add what it refers to; anything goes where there is none."""
    for describe in (_msgspec_schema, _pydantic_schema):
        try:
            schema, needed = describe(hint)
        except Exception:  # noqa: BLE001, S112  # either library, and the author's own classes, raise what they like
            continue
        if any(definitions.get(name, needed[name]) != needed[name] for name in needed):
            return {}  # two classes of one name
        definitions.update(needed)
        return schema
    return {}


def _msgspec_schema(hint: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    (schema,), needed = msgspec.json.schema_components([hint], ref_template="#/$defs/{name}")
    return schema, needed


def _pydantic_schema(hint: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    # A hint that is a pydantic model has imported pydantic; the kit does not need it.
    schema = sys.modules["pydantic"].TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
    return schema, schema.pop("$defs", {})


def _default_of(parameter: inspect.Parameter) -> dict[str, Any]:
    if parameter.default is parameter.empty:
        return {}
    try:
        return {"default": msgspec.to_builtins(parameter.default, str_keys=True)}
    except (TypeError, ValueError):
        return {}


def _queue_of(app: Any, task: Any) -> str:
    """Ask the app's routes where a task of this type goes."""
    default = app.conf.task_default_queue
    try:
        options = {"queue": task.queue} if getattr(task, "queue", None) else {}
        queue = app.amqp.router.route(options, task.name, task_type=task).get("queue", default)
    except Exception:  # noqa: BLE001  # a router is code of the user's
        queue = default
    return str(getattr(queue, "name", queue))
