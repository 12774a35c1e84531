"""The OpenAPI document: its components, and the canonical order in which it is served and committed.

Response schemas come from the structs that are encoded, so the document cannot say anything else than the code.
"""

import http
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from apispec import APISpec

from task_status_service.api.access import Scope
from task_status_service.api.answers import Alive, IssuedToken, Ready, TaskList, TaskType, TaskTypeList
from task_status_service.api.problems import CONTENT_TYPE, Problem
from task_status_service.status import TaskStatus
from task_status_service.task_token import TOKEN_SCOPES
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

#: what request fields refer to by name, and no struct does
_REQUEST_SCHEMAS: Final[Mapping[str, Schema]] = {
    "TokenScope": {
        "description": "What a task token may be good for.",
        "enum": sorted(TOKEN_SCOPES),
        "type": "string",
    },
}

_HEADERS: Final[Mapping[str, Schema]] = {
    "ETag": {
        "description": "Names this version of the answer; send it back as `If-None-Match`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "CacheControl": {
        "description": "How long the answer may be kept: not at all while the task is not done.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where the task's status is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RetryAfter": {
        "description": "When to ask again, in seconds; sent while the task is not done.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "IdempotencyReplayed": {
        "description": "`true`: this is the answer that an earlier request with this `Idempotency-Key` was given.",
        "schema": {"type": "boolean"},
    },
    "PreferenceApplied": {
        "description": "The wait that `Prefer` asked for, as it was applied.",
        "schema": {"type": "string"},
    },
    "RetryAfterProblem": {
        "description": "When to try again, in seconds.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "RetryAfterConflict": {
        "description": "When to try again, in seconds; sent with `idempotency-in-flight`.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWWAuthenticate": {
        "description": "`Bearer`: send a key or a task token.",
        "required": True,
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": (
            "How many requests of this key's owner are left (`r`), and in how many seconds all are again (`t`): "
            '`"requests";r=1999;t=1`. Sent with every answer to a key.'
        ),
        "schema": {"type": "string"},
    },
    "RateLimitPolicy": {
        "description": 'How many requests an owner has (`q`), and in how many seconds (`w`): `"requests";q=2000;w=10`.',
        "schema": {"type": "string"},
    },
    "Allow": {
        "description": "The methods that this path answers.",
        "schema": {"type": "string"},
    },
}

API_KEY: Final = "ApiKey"
TASK_TOKEN: Final = "TaskToken"  # noqa: S105 - a name
ACCESS_TOKEN: Final = "AccessToken"  # noqa: S105 - as above

_SECURITY_SCHEMES: Final[Mapping[str, Schema]] = {
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "An API key: `Authorization: Bearer tsk_…`. What an operation lists is the scope that the key needs. A key "
            "sees the tasks that were submitted with a key of its name, with the scope `admin` all tasks; any other "
            "task is not there for it. A server without keys asks for none."
        ),
    },
    TASK_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that `POST /tasks/{task_id}/tokens` has given: good for this one task.",
    },
    ACCESS_TOKEN: {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "The same token, for an `EventSource`, which can send no headers.",
    },
}

#: problem responses by the name of their status, and the headers that come with them
_PROBLEM_HEADERS: Final[Mapping[http.HTTPStatus, Mapping[str, str]]] = {
    http.HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "WWWAuthenticate"},
    http.HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "RetryAfterProblem"},
    http.HTTPStatus.CONFLICT: {"Retry-After": "RetryAfterConflict"},
    http.HTTPStatus.TOO_MANY_REQUESTS: {
        "Retry-After": "RetryAfterProblem",
        "RateLimit": "RateLimit",
        "RateLimit-Policy": "RateLimitPolicy",
    },
}

# What may be left out has no `example`: Swagger UI would fill it in, and send it.

WAIT_PARAMETERS: Final = [
    {
        "in": "query",
        "name": "wait",
        "description": (
            "Answer when the task is done, or, with `If-None-Match`, when it has changed; after so many seconds at the "
            "latest. Under load the answer comes at once."
        ),
        "schema": {"type": "number", "minimum": 0, "maximum": 60},
    },
    {
        "in": "header",
        "name": "Prefer",
        "description": "`wait=N`, such as `wait=10`: the same as `?wait=N` (RFC 7240).",
        "schema": {"type": "string"},
    },
]

PREFERENCE_APPLIED: Final = {"Preference-Applied": "PreferenceApplied"}

IDEMPOTENCY_KEY_PARAMETER: Final = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": (
        "Names this request, so that it may be sent again when its answer was lost: for 24 hours the same key with the "
        "same request gives the same answer, and makes one task. Such as `order-4711`."
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}

LAST_EVENT_ID_PARAMETER: Final = {
    "in": "header",
    "name": "Last-Event-ID",
    "description": "The `id` of the last event of an earlier stream: it is not sent again.",
    "schema": {"type": "string"},
}

TASK_IDS_PARAMETER: Final = {
    "in": "query",
    "name": "id",
    "required": True,
    "description": "The task ids.",
    "style": "form",
    "explode": True,
    "schema": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string"}},
    "example": ["6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"],
}

IF_NONE_MATCH_PARAMETER: Final = {
    "in": "header",
    "name": "If-None-Match",
    "description": "The `ETag` of an earlier answer, or several: 304 if nothing has changed since.",
    "schema": {"type": "string"},
}

TASK_ID_PARAMETER: Final = {
    "in": "path",
    "name": "task_id",
    "required": True,
    "description": "The task id.",
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"},
    "example": "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10",
}


NOT_MODIFIED: Final[Schema] = {
    "description": "Nothing has changed since the version that `If-None-Match` names.",
    "headers": {"ETag": "ETag", "Cache-Control": "CacheControl", "Retry-After": "RetryAfter"},
}


#: of what may always change: there is no telling when
NOT_MODIFIED_LIVE: Final[Schema] = {
    **NOT_MODIFIED,
    "headers": {"ETag": "ETag", "Cache-Control": "CacheControl"},
}

TASK_TYPE_PARAMETER: Final = {
    "in": "path",
    "name": "name",
    "required": True,
    "description": "The registered name.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "example": "demo.count",
}


def guarded(described: Schema, rule: str, scope: Scope) -> Schema:
    """Say what an operation needs of its caller, and how it refuses; `security` as it has it says which tokens do."""
    by_token = [{TASK_TOKEN: [str(scope)]}] if "<task_id>" in rule and scope in TOKEN_SCOPES else []
    return {
        "security": [{API_KEY: [str(scope)]}, *described.get("security", by_token)],
        "responses": {
            **described.get("responses", {}),
            401: "UNAUTHORIZED",
            403: "FORBIDDEN",
            429: "TOO_MANY_REQUESTS",
        },
    }


def add_components(spec: APISpec) -> None:
    """Add every component that operations refer to; those that none does are dropped by `canonical`."""
    for name, schema in {**_struct_schemas(), **_REQUEST_SCHEMAS}.items():
        spec.components.schema(name, schema)
    for name, scheme in _SECURITY_SCHEMES.items():
        spec.components.security_scheme(name, dict(scheme))
    for name, header in _HEADERS.items():
        spec.components.header(name, header)
    for status in http.HTTPStatus:
        if status >= http.HTTPStatus.BAD_REQUEST:
            response: Schema = {
                "description": status.phrase,
                "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
            if headers := _PROBLEM_HEADERS.get(status):
                response["headers"] = dict(headers)
            # Lazy, under the same name as flask-smorest's own lazy entry, which it thereby replaces.
            spec.components.response(status.name, response, lazy=True)


def describe_field(_converter: Any, field: Any, *, ret: Schema, **_: Any) -> Schema:
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
    used |= {("securitySchemes", name) for name in _SECURITY_SCHEMES}
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
