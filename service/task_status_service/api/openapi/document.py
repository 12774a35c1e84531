"""The OpenAPI document: its components, and the canonical order in which it is served and committed.

Response schemas come from the structs that are encoded, so the document cannot say anything else than the code.
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
    "summary": "The truth about Celery tasks.",
    "description": (
        "Submit a task with `POST /tasks`, follow it with `GET /tasks/{id}` until `done`. Every key of a status is "
        "always present; what is absent is `null`. Errors are `application/problem+json`. Where the server has keys, "
        "send one as `Authorization: Bearer`: a task of somebody else's reads like one that never was."
    ),
    "license": {"name": "MIT", "identifier": "MIT"},
}

#: what the structs may name; each becomes a component
_STRUCTS: Final = (TaskStatus, TaskList, TaskType, TaskTypeList, IssuedToken, Problem, Alive, Ready)


def add_components(spec: APISpec) -> None:
    """Add every component that operations refer to; those that none does are dropped by `canonical`."""
    for name, schema in _struct_schemas().items():
        spec.components.schema(name, schema)
    for name, scheme in SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, dict(scheme))
    for name, header in HEADERS.items():
        spec.components.header(name, header)
    for name, example in EXAMPLES.items():
        spec.components.example(name, {"value": example})


class Converter(OpenAPIConverter):
    """Describe requests by the docstrings of their schemas, and fields by a JSON Schema of their own."""

    def init_attribute_functions(self) -> None:
        """Add ours after those of apispec: it sees what they found."""
        super().init_attribute_functions()
        self.add_attribute_function(_describe_field)

    def schema2jsonschema(self, schema: Any) -> Schema:
        """Describe a body. With a description of apispec's own it would take any further key."""
        return {"description": inspect.getdoc(schema), **super().schema2jsonschema(schema)}


class RequestPlugin(MarshmallowPlugin):
    """Describe requests in apispec."""

    Converter = Converter


def _describe_field(_converter: Any, field: Any, *, ret: Schema, **_: Any) -> Schema:
    """Give the JSON Schema that a request field has of its own; apispec calls it last, with what it found itself."""
    own: Schema = getattr(field, "json_schema", {})
    if "$ref" in own:
        ret.clear()
    if own.get("type") == "object":
        # apispec takes every Length for that of a text.
        ret.pop("maxLength", None)
    return own


def _struct_schemas() -> dict[str, Schema]:
    """Give the JSON Schemas of the structs, in the style that every client generator reads well."""
    _, schemas = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        schema.pop("title", None)
        if "enum" in schema:
            schema["type"] = "string"
        if "properties" in schema:
            # Encoded structs have every key.
            if schema_is_complete(schema):
                schema["required"] = list(schema["properties"])
            for property_schema in schema["properties"].values():
                property_schema.pop("default", None)
                _fold_null(property_schema)
    return schemas


def schema_is_complete(schema: Schema) -> bool:
    """Tell whether values of a schema always have all its properties: all but the faults of a problem do."""
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
    """Give the document in one fixed order, without components that nothing refers to."""
    document: Schema = {key: raw[key] for key in ("openapi", "info", "servers", "security", "tags") if key in raw}
    document["paths"] = {path: _operations(raw["paths"][path]) for path in sorted(raw["paths"])}
    components = raw["components"]
    used = _reachable(document["paths"], components)
    # Not referred to by `$ref`.
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
    """Follow every `$ref` from the paths."""
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
