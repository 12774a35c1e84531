"""A test client that compares every response with the OpenAPI document, because generated clients rely on it."""

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

#: headers that a response may have only if the document lists them
DOCUMENTED_HEADERS = {
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
#: Flask may return these for any request, so no operation lists them
UNLISTED = {405, 500}


@functools.cache
def document() -> dict[str, Any]:
    """Return the committed document; tests/api/openapi checks that the service returns the same one."""
    read: dict[str, Any] = json.loads(COMMITTED.read_bytes())
    return read


@functools.cache
def validator(schema: str) -> Draft202012Validator:
    """Return the validator of a schema, which is given as JSON."""
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})


@functools.cache
def templates() -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    """Return a pattern for each path of the document, and its operations. Names of task types may contain slashes."""
    return [
        (re.compile(re.sub(r"\\{name\\}", ".+", re.sub(r"\\{task_id\\}", "[^/]+", re.escape(path)))), item)
        for path, item in document()["paths"].items()
    ]


def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """Return the documented operation of a request; None if there is no such operation."""
    for template, item in templates():
        if template.fullmatch(path):
            return item.get("get" if method == "HEAD" else method.lower())
    return None


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node, or the component that it refers to."""
    if "$ref" not in node:
        return node
    _, _, kind, name = node["$ref"].split("/")
    found: dict[str, Any] = document()["components"][kind][name]
    return found


def check(operation: dict[str, Any], code: int, headers: Headers, body: bytes | None) -> None:
    """Check status, headers and body of a response; None skips the check of the body."""
    where = f"{operation['operationId']} {code}"
    if code in UNLISTED:
        return
    assert str(code) in operation["responses"], f"{where} is not documented"
    described = operation["responses"][str(code)]
    listed = {name: resolved(header) for name, header in described.get("headers", {}).items()}
    assert {name for name in DOCUMENTED_HEADERS if name in headers} <= listed.keys(), where
    for name, header in listed.items():
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
    """A client that checks the response of every documented operation."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        """Send a request, and check its response."""
        response = super().open(*args, **kwargs)
        operation = operation_of(response.request.method, response.request.path)
        if operation is not None:
            # The test reads a stream itself.
            is_read = response.request.method != "HEAD" and response.mimetype != "text/event-stream"
            check(operation, response.status_code, response.headers, response.data if is_read else None)
        return response
