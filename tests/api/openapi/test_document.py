"""`GET /openapi.json`: a valid document that generates good clients, committed as returned."""

import json
import re
from datetime import datetime

import msgspec
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate
from support.documented import COMMITTED, resolved
from support.stored_values import ROWS, snapshot_of
from task_status_service.status import Visibility, decode

#: jsonschema checks `date-time` only if another package is installed
FORMATS = FormatChecker([])
FORMATS.checks("date-time", raises=ValueError)(
    lambda text: text is None or datetime.fromisoformat(text).tzinfo is not None
)


@pytest.fixture
def document(client):
    """The document as the service returns it."""
    return client.get("/openapi.json").get_json()


def operations(document):
    """Return every operation with its method and path."""
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
    ]


def schemas_within(node):
    """Yield every object in a part of the document."""
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from schemas_within(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from schemas_within(inner)


def test_the_committed_document_is_current(client):
    """The committed document is the one that the service returns: run `make openapi` after a change."""
    assert COMMITTED.read_bytes() == client.get("/openapi.json").data


def test_the_document_is_valid(document):
    """The document is valid OpenAPI 3.1."""
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_operations_are_described(document):
    """Every operation has a camelCase id, a summary, a description and a tag, and no `default` response."""
    names = {operation["operationId"] for _, _, operation in operations(document)}
    assert names == {
        "submitTask",
        "listTasks",
        "getTask",
        "getTaskResult",
        "watchTask",
        "watchTasks",
        "cancelTask",
        "retryTask",
        "forgetTask",
        "createTaskToken",
        "listTaskTypes",
        "getTaskType",
        "getLiveness",
        "getReadiness",
    }
    for _, _, operation in operations(document):
        assert re.fullmatch(r"[a-z]+[A-Za-z]+", operation["operationId"])
        assert operation["summary"].endswith(".")
        assert operation["description"]
        assert all(parameter["description"] for parameter in operation.get("parameters", []))
        assert operation["tags"]
        assert "default" not in operation["responses"]


def test_parameters_are_those_of_their_operation(document):
    """Paths share only their path parameters; each other parameter belongs to one method."""
    names = {
        operation["operationId"]: {parameter["name"] for parameter in operation.get("parameters", [])}
        for _, _, operation in operations(document)
    }
    assert names["submitTask"] == names["retryTask"] == {"Idempotency-Key", "wait", "Prefer"}
    assert names["getTask"] == {"If-None-Match", "wait", "Prefer"}
    assert names["cancelTask"] == names["forgetTask"] == set()
    assert "wait" not in names["listTasks"]
    for item in document["paths"].values():
        assert all(parameter["in"] == "path" for parameter in item.get("parameters", []))


def test_operations_list_their_keys_and_scopes(document):
    """Every operation lists its keys and scopes, and 401 and 403; health needs no key."""
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert by_id.pop("getLiveness")["security"] == by_id.pop("getReadiness")["security"] == []
    for operation in by_id.values():
        assert {"401", "403"} <= operation["responses"].keys()
        assert operation["security"][0].keys() == {"ApiKey"}
    assert by_id["submitTask"]["security"] == [{"ApiKey": ["submit"]}]
    assert by_id["getTask"]["security"] == [{"ApiKey": ["read"]}, {"TaskToken": ["read"]}]
    assert by_id["watchTask"]["security"] == [{"ApiKey": ["read"]}, {"TaskToken": ["read"]}]
    # A token is valid only on the paths of its task, and cannot create a token.
    assert by_id["watchTasks"]["security"] == by_id["createTaskToken"]["security"] == [{"ApiKey": ["read"]}]


def test_optional_parameters_have_no_example(document):
    """Optional parameters have no example: Swagger UI would send it, such as the Idempotency-Key of another request."""
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if not parameter.get("required"):
                assert "example" not in parameter
                assert "example" not in parameter["schema"]


def test_errors_are_problems(document):
    """Every documented error is a problem document, with an example of each possible problem."""
    for _, _, operation in operations(document):
        for code, response in operation["responses"].items():
            if int(code) >= 400:
                assert response["content"].keys() == {"application/problem+json"}
                content = response["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                for slug, example in content["examples"].items():
                    problem = resolved(example)["value"]
                    assert problem["type"] == f"/problems/{slug}"
                    assert problem["status"] == int(code)


def test_response_properties_are_required(document):
    """All properties of responses are required and may be null, so that clients have no optional properties."""
    for name in ("TaskStatus", "Progress", "Failure", "Diagnostic", "Problem", "TaskType"):
        schema = document["components"]["schemas"][name]
        assert schema["required"] == list(schema["properties"])
        assert "additionalProperties" not in schema


def test_times_have_a_format(document):
    """Every time has the format `date-time`, so that generated clients parse it."""
    for name, schema in document["components"]["schemas"].items():
        for property_name, property_schema in schema.get("properties", {}).items():
            if property_name.endswith(("_at", "_for")):
                assert property_schema["format"] == "date-time", (name, property_name)


def test_every_status_fits_its_schema(document):
    """The encoded status of every value of the corpus is valid against the schema."""
    schema = {**document["components"]["schemas"]["TaskStatus"], "components": document["components"]}
    validator = Draft202012Validator(schema)
    for row in ROWS:
        status = decode(snapshot_of(row), view=Visibility.OPERATOR)
        if status is not None:
            validator.validate(msgspec.json.decode(msgspec.json.encode(status)))


def test_every_answer_has_examples(document):
    """Every request and response body has examples, and they are valid against its schema."""
    for _, _, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media_type, content in ((kind, one) for body in bodies for kind, one in body.get("content", {}).items()):
            examples = [resolved(example)["value"] for example in content["examples"].values()]
            assert examples
            if media_type != "text/event-stream":
                schema = {**content["schema"], "components": document["components"]}
                for example in examples:
                    Draft202012Validator(schema, format_checker=FORMATS).validate(example)


def test_example_events_are_statuses(document):
    """The events of the example stream are statuses, and the last one is done."""
    stream = document["components"]["examples"]["events"]["value"]
    schema = {**document["components"]["schemas"]["TaskStatus"], "components": document["components"]}
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in stream.split("\n\n") if event]
    assert [event["event"] for event in events] == ["status", "status"]
    statuses = [json.loads(event["data"]) for event in events]
    for status in statuses:
        Draft202012Validator(schema).validate(status)
    assert [status["done"] for status in statuses] == [False, True]


def test_schemas_are_described(document):
    """Every schema and property has a description, because it becomes a docstring of generated clients."""
    for schema in document["components"]["schemas"].values():
        assert schema["description"]
        assert all(inner["description"] for inner in schema.get("properties", {}).values())


def test_schemas_avoid_problems_of_generators(document):
    """No schema uses a construct that generators handle badly (openapi/README.md lists the problems)."""
    for inner in schemas_within(document["components"]["schemas"]):
        # A bare object becomes a type without properties in TypeScript.
        if inner.get("type") == "object":
            assert "properties" in inner or "additionalProperties" in inner, inner
        assert not {"oneOf", "discriminator", "nullable", "readOnly", "writeOnly"} & inner.keys(), inner
        # No null in an enum, and no type beside a reference.
        assert None not in inner.get("enum", ())
        if "$ref" in inner:
            assert "type" not in inner
    closed = {
        name
        for name, schema in document["components"]["schemas"].items()
        if schema.get("additionalProperties") is False
    }
    # Responses must not be closed, because later versions may add properties.
    assert closed == {"Submission", "Cancellation", "TokenRequest"}


def test_enums_are_named(document):
    """Enums are typed components, so that each becomes one class in a client; no other schema has an enum."""
    schemas = document["components"]["schemas"]
    assert len(schemas["TaskState"]["enum"]) == 10
    enums = {name for name, schema in schemas.items() if "enum" in schema}
    assert enums == {"TaskState", "FailureKind", "Liveness", "TokenScope"}
    assert all(schemas[name]["type"] == "string" for name in enums)
    assert sum("enum" in inner for inner in schemas_within(document)) == len(enums)


def test_no_component_is_unused(document):
    """Every component is referenced."""
    text = json.dumps(document["paths"]) + json.dumps(document["components"])
    named = {name for _, _, operation in operations(document) for one in operation["security"] for name in one}
    assert named == set(document["components"].pop("securitySchemes"))
    for kind, components in document["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in text
