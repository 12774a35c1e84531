"""Announcements of task types: name, doc, queue, and the arguments as JSON Schema from the signature."""

import functools
import inspect
import logging
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from task_status_worker.record.announcement import (
    MAX_CONSUMER_BYTES,
    MAX_PARAMETERS,
    MAX_QUEUES,
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_LEVELS,
    MAX_TASK_TYPE_BYTES,
    MAX_TASK_TYPES,
    Consumer,
    TaskType,
)

logger = logging.getLogger(__name__)

#: `*args` and `**kwargs`, which are not named parameters
_VAR_KINDS: Final = frozenset({inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD})

#: limit in characters of a docstring, and of the names of all parameters of a task type together
MAX_DOC: Final = 8_192
MAX_NAME_CHARS: Final = 8_192

_NULL: Final[dict[str, Any]] = {"type": "null"}


def announcements(app: Any, *, now: int) -> Mapping[str, bytes]:
    """Return the announcement of each task type of an app as JSON, by name.

    Celery's own are skipped, and so are those above `MAX_TASK_TYPES`, which services do not read.
    """
    packed: dict[str, bytes] = {}
    for name, task in _types_of(app):
        try:
            announced = announcement(app, task, now=now)
            packed[name] = msgspec.json.encode(announced)
            if len(packed[name]) > MAX_TASK_TYPE_BYTES:
                # The text has characters of several bytes.
                packed[name] = msgspec.json.encode(msgspec.structs.replace(announced, doc=None))
        except Exception:
            # A task type that cannot be described must not hide the others.
            logger.exception("Cannot announce the task type %s to task-status; skipping it", name)
    return packed


def _types_of(app: Any) -> list[tuple[str, Any]]:
    """Return the task types to be announced, by name."""
    types_of = sorted((name, task) for name, task in app.tasks.items() if not name.startswith("celery."))
    for name, _ in types_of[MAX_TASK_TYPES:]:
        _warn_once(f"only {MAX_TASK_TYPES} task types of an app are announced", name)
    return types_of[:MAX_TASK_TYPES]


@functools.cache
def _warn_once(reason: str, name: str) -> None:
    """Log one line for each task type, because a worker repeats its announcements each minute."""
    logger.warning("The announcement of the task type %s to task-status is incomplete, because %s", name, reason)


def announcement(app: Any, task: Any, *, now: int) -> TaskType:
    """Return the announcement of one task type."""
    signature = describe_arguments(task.run)
    if signature.omitted:
        _warn_once(signature.omitted, task.name)
    doc = inspect.cleandoc(inspect.unwrap(task.run).__doc__ or task.__doc__ or "")
    return TaskType(
        name=task.name,
        doc=doc[:MAX_DOC] or None,
        queue=_queue_of(app, task),
        ignore_result=bool(task.ignore_result),
        arguments=msgspec.Raw(msgspec.json.encode(signature.arguments)),
        positional=signature.positional,
        positional_only=signature.positional_only,
        var_positional=msgspec.Raw(msgspec.json.encode(signature.var_positional)),
        announced_at=now,
    )


def consumer(app: Any, *, now: int) -> bytes:
    """Return as JSON which task types a worker of this app knows and which queues it reads."""
    names = [name for name, _ in _types_of(app)]
    # The queues of option -Q, and later changes by remote control (celery/app/amqp.py, Queues.consume_from).
    queues = sorted(app.amqp.queues.consume_from)[:MAX_QUEUES]
    packed = msgspec.json.encode(Consumer(task_types=names, queues=queues, announced_at=now))
    if len(packed) > MAX_CONSUMER_BYTES:
        # Services read the queues, which permit submissions; they only count the workers of a task type.
        packed = msgspec.json.encode(Consumer(task_types=[], queues=queues, announced_at=now))
    return packed


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of a function, as the fields of `TaskType` but not yet encoded."""

    arguments: dict[str, Any]
    positional: list[str]
    positional_only: int
    var_positional: dict[str, Any] | bool
    #: what exceeds a limit and is not described; empty if nothing
    omitted: str = ""


def describe_arguments(function: Any) -> Signature:
    """Return the parameters of a function as JSON Schema.

    A hint without a JSON Schema, or one that cannot be resolved, allows anything. If the schema of all parameters
    exceeds a limit, each of them allows anything. A function with too many parameters accepts any arguments.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) > MAX_PARAMETERS or sum(len(parameter.name) for parameter in parameters) > MAX_NAME_CHARS:
        return Signature(
            arguments={"type": "object"},
            positional=[],
            positional_only=0,
            var_positional=True,
            omitted=f"it has more than {MAX_PARAMETERS} parameters, or their names are too long",
        )
    named = [parameter for parameter in parameters if parameter.kind not in _VAR_KINDS]
    by_position = [parameter for parameter in named if parameter.kind is not parameter.KEYWORD_ONLY]
    definitions: dict[str, Any] = {}
    schemas = {parameter.name: _schema_of_parameter(function, parameter, definitions) for parameter in parameters}
    omitted = _excess([schemas, definitions])
    if omitted:
        schemas = {name: {} for name in schemas}
        definitions = {}
    var_kinds: dict[Any, dict[str, Any]] = {
        parameter.kind: schemas[parameter.name] for parameter in parameters if parameter.kind in _VAR_KINDS
    }
    arguments: dict[str, Any] = {
        "type": "object",
        "properties": {parameter.name: schemas[parameter.name] for parameter in named},
        "required": [parameter.name for parameter in named if parameter.default is parameter.empty],
        "additionalProperties": _or_true(var_kinds.get(inspect.Parameter.VAR_KEYWORD)),
    }
    if definitions:
        arguments["$defs"] = definitions
    return Signature(
        arguments=arguments,
        positional=[parameter.name for parameter in by_position],
        positional_only=sum(parameter.kind is parameter.POSITIONAL_ONLY for parameter in by_position),
        var_positional=_or_true(var_kinds.get(inspect.Parameter.VAR_POSITIONAL)),
        omitted=omitted,
    )


def _excess(schemas: Any) -> str:
    """Return which limit the schemas of all parameters exceed, with a margin for their keywords; empty if none."""
    if len(msgspec.json.encode(schemas)) > MAX_SCHEMA_BYTES - 2 * MAX_NAME_CHARS:
        return f"the schemas of its arguments are larger than {MAX_SCHEMA_BYTES} bytes"
    level = [schemas]
    for _ in range(MAX_SCHEMA_LEVELS):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _values_of(outer)]
        if not level:
            return ""
    return f"the schemas of its arguments are nested in more than {MAX_SCHEMA_LEVELS} levels"


def _values_of(container: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _or_true(schema: dict[str, Any] | None) -> dict[str, Any] | bool:
    """Return `true` for a schema that allows anything, and `false` for a missing one."""
    return False if schema is None else schema or True


def _schema_of_parameter(function: Any, parameter: inspect.Parameter, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _schema_of(_hint_of(function, parameter), definitions)
    if parameter.default is parameter.empty:
        return schema
    if parameter.default is None and schema and _NULL not in schema.get("anyOf", [schema]):
        # `x: int = None`, which is common, accepts None.
        schema = {"anyOf": [schema, _NULL]}
    return schema | _default_of(parameter)


def _hint_of(function: Any, parameter: inspect.Parameter) -> Any:
    """Resolve one hint alone, so that an unresolvable hint does not affect the others."""
    if parameter.annotation is parameter.empty:
        return Any
    holder = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return typing.get_type_hints(holder, globalns=names, include_extras=True)[parameter.name]
    except Exception:  # noqa: BLE001  # evaluating a hint runs code of the task's author
        return Any


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of one hint and add its definitions; the empty schema if it has none."""
    for describe in (_msgspec_schema, _pydantic_schema):
        try:
            schema, needed = describe(hint)
        except Exception:  # noqa: BLE001, S112  # both libraries and the author's classes may raise any error
            continue
        if any(definitions.get(name, needed[name]) != needed[name] for name in needed):
            continue  # two classes with one name, or one class described by both libraries
        definitions.update(needed)
        return schema
    return {}


def _msgspec_schema(hint: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    (schema,), needed = msgspec.json.schema_components([hint], ref_template="#/$defs/{name}")
    return schema, needed


def _pydantic_schema(hint: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    # A pydantic model as hint means that pydantic is imported; the kit does not depend on it.
    schema = sys.modules["pydantic"].TypeAdapter(hint).json_schema(ref_template="#/$defs/{model}")
    return schema, schema.pop("$defs", {})


def _default_of(parameter: inspect.Parameter) -> dict[str, Any]:
    try:
        return {"default": msgspec.to_builtins(parameter.default, str_keys=True)}
    except (TypeError, ValueError):
        return {}


def _queue_of(app: Any, task: Any) -> str:
    """Return the queue to which the app's routes send a task of this type."""
    default = app.conf.task_default_queue
    try:
        options = {"queue": task.queue} if getattr(task, "queue", None) else {}
        queue = app.amqp.router.route(options, task.name, task_type=task).get("queue", default)
    except Exception:  # noqa: BLE001  # a router is code of the user
        queue = default
    return str(getattr(queue, "name", queue))
