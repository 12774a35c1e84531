"""A client that holds every answer to the OpenAPI document: what a generated client relies on."""

import functools
import json
import re
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

COMMITTED = Path(__file__).parents[2] / "openapi" / "openapi.json"

#: headers that an answer has only where the document says so
TOLD = {
    "ETag",
    "Retry-After",
    "Location",
    "Idempotency-Replayed",
    "Preference-Applied",
    "RateLimit",
    "RateLimit-Policy",
    "WWW-Authenticate",
}
BODILESS = {204, 304}
#: what any server may answer to anything, and Flask does: no operation lists them
OF_NO_OPERATION = {405, 500}


@functools.cache
def document() -> dict[str, Any]:
    """Read the committed document; that it is the served one is a test of its own."""
    read: dict[str, Any] = json.loads(COMMITTED.read_bytes())
    return read


@functools.cache
def validator(schema: str) -> Draft202012Validator:
    """Make the validator of a schema, given as JSON."""
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})


@functools.cache
def templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Give each path of the document with what it looks like; a task type may have slashes in its name."""
    return [
        (re.compile(re.sub(r"\\{name\\}", ".+", re.sub(r"\\{task_id\\}", "[^/]+", re.escape(path)))), item)
        for path, item in document()["paths"].items()
    ]


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """Find what the document says of a request; None: nothing."""
    for template, item in templates():
        if template.fullmatch(path):
            return item.get("get" if method == "HEAD" else method.lower())
    return None


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    if "$ref" not in node:
        return node
    _, _, kind, name = node["$ref"].split("/")
    found: dict[str, Any] = document()["components"][kind][name]
    return found


def check(operation: dict[str, Any], code: int, headers: Headers, body: bytes | None) -> None:
    """Check status, headers and body of an answer; None: there is none that may be read."""
    where = f"{operation['operationId']} {code}"
    if code in OF_NO_OPERATION:
        return
    assert str(code) in operation["responses"], f"{where} is not documented"
    described = operation["responses"][str(code)]
    told = {name: resolved(header) for name, header in described.get("headers", {}).items()}
    assert {name for name in TOLD if name in headers} <= told.keys(), where
    for name, header in told.items():
        assert name in headers or not header.get("required"), f"{where} without {name}"
        if header["schema"]["type"] == "integer" and name in headers:
            assert headers[name].isdigit(), f"{where} {name}"
    if code in BODILESS:
        assert "content" not in described
        assert not body
        return
    media_type = headers["Content-Type"].partition(";")[0]
    content = described["content"][media_type]
    if body is None:
        return
    answer = json.loads(body)
    validator(json.dumps(content["schema"])).validate(answer)
    if media_type == "application/problem+json":
        types = {resolved(example)["value"]["type"] for example in content["examples"].values()}
        assert answer["type"] in types, f"{where} does not list {answer['type']}"


class DocumentedClient(FlaskClient):
    """Check each answer; requests that the document does not know are nobody's."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """Send a request."""
        response = super().open(*args, **kwargs)
        operation = operation_of(response.request.method, response.request.path)
        if operation is not None:
            # A stream is for the test to read.
            is_read = response.request.method != "HEAD" and response.mimetype != "text/event-stream"
            check(operation, response.status_code, response.headers, response.data if is_read else None)
        return response
