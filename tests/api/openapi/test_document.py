"""`GET /openapi.json`: valid, in the style that generates good clients, and committed as served."""

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

#: by hand: jsonschema checks `date-time` only where another package is there
FORMATS = FormatChecker([])
FORMATS.checks("date-time", raises=ValueError)(
    lambda text: text is None or datetime.fromisoformat(text).tzinfo is not None
)


@pytest.fixture
def document(client):
    """Give the document as served."""
    return client.get("/openapi.json").get_json()


def operations(document):
    """Give every operation with its method and path."""
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if isinstance(operation, dict)
    ]


def schemas_within(node):
    """Give every object in a part of the document."""
    if isinstance(node, dict):
        yield node
        for inner in node.values():
            yield from schemas_within(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from schemas_within(inner)


def test_committed(client):
    """What is committed is what is served: run `make openapi` after a change."""
    assert COMMITTED.read_bytes() == client.get("/openapi.json").data


def test_valid(document):
    """It is OpenAPI 3.1."""
    assert document["openapi"] == "3.1.0"
    validate(document)


def test_operations(document):
    """Every operation has a camelCase id, a summary, a tag, and problems for what can go wrong; no `default`."""
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
    """A path has only its own parts in common: what one method takes is not said of another."""
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


def test_security(document):
    """Every operation says what key it needs, and that it refuses others; health needs none."""
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    assert by_id.pop("getLiveness")["security"] == by_id.pop("getReadiness")["security"] == []
    for operation in by_id.values():
        assert {"401", "403"} <= operation["responses"].keys()
        assert operation["security"][0].keys() == {"ApiKey"}
    assert by_id["submitTask"]["security"] == [{"ApiKey": ["submit"]}]
    assert by_id["getTask"]["security"] == [{"ApiKey": ["read"]}, {"TaskToken": ["read"]}]
    assert by_id["watchTask"]["security"] == [{"ApiKey": ["read"]}, {"TaskToken": ["read"]}]
    # It takes a token in no other way than by the path of its task; and makes none of one.
    assert by_id["watchTasks"]["security"] == by_id["createTaskToken"]["security"] == [{"ApiKey": ["read"]}]


def test_what_may_be_left_out_has_no_example(document):
    """Swagger UI fills examples in: whoever tries an operation would send an Idempotency-Key that is not theirs."""
    for _, _, operation in operations(document):
        for parameter in operation.get("parameters", []):
            if not parameter.get("required"):
                assert "example" not in parameter
                assert "example" not in parameter["schema"]


def test_errors_are_problems(document):
    """Every documented error is a problem document, and names the problems that it may be by an example of each."""
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


def test_statuses_have_every_key(document):
    """Response properties are required, absent values null: no optional keys in clients."""
    for name in ("TaskStatus", "Progress", "Failure", "Diagnostic", "Problem", "TaskType"):
        schema = document["components"]["schemas"][name]
        assert schema["required"] == list(schema["properties"])
        assert "additionalProperties" not in schema


def test_times_say_so(document):
    """Every time has its format, so that clients get a time and not a text."""
    for name, schema in document["components"]["schemas"].items():
        for property_name, property_schema in schema.get("properties", {}).items():
            if property_name.endswith(("_at", "_for")):
                assert property_schema["format"] == "date-time", (name, property_name)


def test_every_status_fits_its_schema(document):
    """What is encoded by hand is what the document says: for every value of the corpus."""
    schema = {**document["components"]["schemas"]["TaskStatus"], "components": document["components"]}
    validator = Draft202012Validator(schema)
    for row in ROWS:
        status = decode(snapshot_of(row), view=Visibility.OPERATOR)
        if status is not None:
            validator.validate(msgspec.json.decode(msgspec.json.encode(status)))


def test_every_answer_has_examples(document):
    """Every status with a body has examples, as has every request body, and each fits its schema."""
    for _, _, operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media_type, content in ((kind, one) for body in bodies for kind, one in body.get("content", {}).items()):
            examples = [resolved(example)["value"] for example in content["examples"].values()]
            assert examples
            if media_type != "text/event-stream":
                schema = {**content["schema"], "components": document["components"]}
                for example in examples:
                    Draft202012Validator(schema, format_checker=FORMATS).validate(example)


def test_the_events_of_the_example(document):
    """They are statuses, as the description of a stream says."""
    stream = document["components"]["examples"]["events"]["value"]
    schema = {**document["components"]["schemas"]["TaskStatus"], "components": document["components"]}
    events = [dict(line.split(": ", 1) for line in event.splitlines()) for event in stream.split("\n\n") if event]
    assert [event["event"] for event in events] == ["status", "status"]
    statuses = [json.loads(event["data"]) for event in events]
    for status in statuses:
        Draft202012Validator(schema).validate(status)
    assert [status["done"] for status in statuses] == [False, True]


def test_everything_is_described(document):
    """Schemas and their properties are the docstrings of generated clients."""
    for schema in document["components"]["schemas"].values():
        assert schema["description"]
        assert all(inner["description"] for inner in schema.get("properties", {}).values())


def test_style(document):
    """What generators stumble over is not there (see what each makes of it in openapi/README.md)."""
    for inner in schemas_within(document["components"]["schemas"]):
        # An object without more to it has no properties at all in TypeScript.
        if inner.get("type") == "object":
            assert "properties" in inner or "additionalProperties" in inner, inner
        assert not {"oneOf", "discriminator", "nullable", "readOnly", "writeOnly"} & inner.keys(), inner
        # Two kinds of null: an enum with one, or a type beside a reference.
        assert None not in inner.get("enum", ())
        if "$ref" in inner:
            assert "type" not in inner
    closed = {
        name
        for name, schema in document["components"]["schemas"].items()
        if schema.get("additionalProperties") is False
    }
    # What may gain a property in an answer must not be closed.
    assert closed == {"Submission", "Cancellation", "TokenRequest"}


def test_enums_are_named(document):
    """Enums are components with a type, so that each is one class in a client; there are no others."""
    schemas = document["components"]["schemas"]
    assert len(schemas["TaskState"]["enum"]) == 10
    enums = {name for name, schema in schemas.items() if "enum" in schema}
    assert enums == {"TaskState", "FailureKind", "Liveness", "TokenScope"}
    assert all(schemas[name]["type"] == "string" for name in enums)
    assert sum("enum" in inner for inner in schemas_within(document)) == len(enums)


def test_no_component_is_unused(document):
    """What nothing refers to is not there."""
    text = json.dumps(document["paths"]) + json.dumps(document["components"])
    named = {name for _, _, operation in operations(document) for one in operation["security"] for name in one}
    assert named == set(document["components"].pop("securitySchemes"))
    for kind, components in document["components"].items():
        for name in components:
            assert f"#/components/{kind}/{name}" in text
