"""The OpenAPI document: its components, and its canonical order.

Response schemas are generated from the encoded structs, so the document cannot differ from the code.
"""

import inspect
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from task_status_service.api.openapi.examples import EXAMPLES
from task_status_service.api.openapi.headers import HEADERS
from task_status_service.api.openapi.security import SECURITY_SCHEMES
from task_status_service.api.responses.bodies import Alive, IssuedToken, Ready, TaskList, TaskType, TaskTypeList
from task_status_service.api.responses.problems import Problem
from task_status_service.status import TaskStatus
from task_status_service.version import VERSION

OPENAPI_VERSION: Final = "3.1.0"

Schema = dict[str, Any]

INFO: Final = {
    "title": "task-status",
    "version": VERSION,
    "summary": "The true status of Celery tasks.",
    "description": (
        "Submit a task with `POST /tasks`, then poll `GET /tasks/{id}` until `done` is true. Every key of a status is "
        "always present; a missing value is `null`. Errors are `application/problem+json`. If the server has keys, "
        "send one as `Authorization: Bearer`. Tasks of other owners return 404."
    ),
    "license": {"name": "MIT", "identifier": "MIT"},
}

#: structs of responses; each becomes a component
_STRUCTS: Final = (TaskStatus, TaskList, TaskType, TaskTypeList, IssuedToken, Problem, Alive, Ready)


def add_components(spec: APISpec) -> None:
    """Add all components; `canonical` drops those without a reference."""
    for name, schema in _struct_schemas().items():
        spec.components.schema(name, schema)
    for name, scheme in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, dict(scheme))
    for name, header in HEADERS.items():
        spec.components.header(name, header)
    for name, example in EXAMPLES.items():
        spec.components.example(name, {"value": example})


class Converter(OpenAPIConverter):
    """Converter that uses schema docstrings, and the `json_schema` of fields."""

    def init_attribute_functions(self) -> None:
        """Add `_describe_field` after the functions of apispec, because it corrects their output."""
        super().init_attribute_functions()
        self.add_attribute_function(_describe_field)

    def schema2jsonschema(self, schema: Any) -> Schema:
        """Return the schema of a body, with the docstring as its description.

        A description in the schema's Meta would make apispec allow additional properties.
        """
        return {"description": inspect.getdoc(schema), **super().schema2jsonschema(schema)}


class RequestPlugin(MarshmallowPlugin):
    """apispec plugin for request schemas."""

    Converter = Converter


def _describe_field(_converter: Any, field: Any, *, ret: Schema, **_: Any) -> Schema:
    """Return the `json_schema` of a request field; apispec calls this last, with its own output in `ret`."""
    own: Schema = getattr(field, "json_schema", {})
    if "$ref" in own:
        ret.clear()
    if own.get("type") == "object":
        # apispec writes every Length validator as the length of a string.
        ret.pop("maxLength", None)
    return own


def _struct_schemas() -> dict[str, Schema]:
    """Return the JSON Schemas of the structs, in a style that all tested client generators support."""
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        schema.pop("title", None)
        if "enum" in schema:
            schema["type"] = "string"
        if "properties" in schema:
            # An encoded struct has all its keys.
            if schema_is_complete(schema):
                schema["required"] = list(schema["properties"])
            for property_schema in schema["properties"].values():
                property_schema.pop("default", None)
                _fold_null(property_schema)
    return schemas


def schema_is_complete(schema: Schema) -> bool:
    """Return whether values always have all properties; only the faults of a problem omit some."""
    return "pointer" not in schema["properties"]


def _fold_null(schema: Schema) -> None:
    """Write a nullable scalar as `type: [scalar, null]`; a nullable reference stays `anyOf`."""
    variants = schema.get("anyOf", ())
    if not variants or any("$ref" in variant for variant in variants):
        return
    types = [variant["type"] for variant in variants]
    if "number" in types and "integer" in types:
        types.remove("integer")
    del schema["anyOf"]
    schema["type"] = types
    for variant in variants:
        schema.update({key: value for key, value in variant.items() if key != "type"})


def canonical(raw: Schema) -> Schema:
    """Return the document in a fixed order, without unreferenced components."""
    document: Schema = {key: raw[key] for key in ("openapi", "info", "servers", "security", "tags") if key in raw}
    document["paths"] = {path: _operations(raw["paths"][path]) for path in sorted(raw["paths"])}
    components = raw["components"]
    used = _reachable(document["paths"], components)
    # Security schemes are named without `$ref`.
    used |= {("securitySchemes", name) for name in SECURITY_SCHEMES}
    document["components"] = {
        kind: {name: components[kind][name] for name in sorted(components[kind]) if (kind, name) in used}
        for kind in sorted(components)
        if any((kind, name) in used for name in components[kind])
    }
    return document


_OPERATION_ORDER: Final = ("operationId", "summary", "description", "tags", "security", "parameters", "requestBody")


def _operations(path_item: Schema) -> Schema:
    ordered: Schema = {}
    for method, operation in sorted(path_item.items()):
        if not isinstance(operation, dict):
            ordered[method] = operation
            continue
        fields = {key: operation[key] for key in _OPERATION_ORDER if key in operation}
        fields |= {
            key: value for key, value in sorted(operation.items()) if key not in (*_OPERATION_ORDER, "responses")
        }
        fields["responses"] = {str(code): operation["responses"][code] for code in sorted(operation["responses"])}
        ordered[method] = fields
    return ordered


def _reachable(paths: Schema, components: Schema) -> set[tuple[str, str]]:
    """Return the components that are reachable from the paths by `$ref`."""
    used: set[tuple[str, str]] = set()
    waiting = list(_references(paths))
    while waiting:
        reference = waiting.pop()
        if reference not in used:
            used.add(reference)
            kind, name = reference
            waiting += _references(components[kind][name])
    return used


def _references(node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, dict):
        if isinstance(reference := node.get("$ref"), str):
            _, _, kind, name = reference.split("/")
            yield kind, name
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)
