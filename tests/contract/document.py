"""The committed document, as the tests of the running service ask it."""

import json
from typing import Any, Final, NamedTuple

from documented import document, resolved, validator


class Operation(NamedTuple):
    """One operation, and where it is."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def takes_json(self) -> bool:
        """Tell whether it takes a body."""
        return "requestBody" in self.described


OPERATIONS: Final = {
    described["operationId"]: Operation(method.upper(), path, described)
    for path, item in document()["paths"].items()
    for method, described in item.items()
    if isinstance(described, dict)
}
#: every status of every operation
ANSWERS: Final = {
    (name, status) for name, operation in OPERATIONS.items() for status in operation.described["responses"]
}


def check_value(value: Any, schema: Any) -> None:
    """Hold a value to a schema."""
    validator(json.dumps(schema)).validate(value)


def check_request(operation: Operation, query: dict[str, list[str]] | None, body: Any) -> None:
    """Hold the query and the body of a request to what its operation takes."""
    if body is not None:
        check_value(body, operation.described["requestBody"]["content"]["application/json"]["schema"])
    parameters = {one["name"]: one["schema"] for one in operation.described.get("parameters", [])}
    for name, values in (query or {}).items():
        check_value(values if parameters[name].get("type") == "array" else values[0], parameters[name])


def check_problem(operation: Operation, status: str, headers: dict[str, str], problem: Any) -> None:
    """Hold a problem to the answer that it is: its schema, its headers, and the list of those that it may be."""
    described = operation.described["responses"][status]
    content = described["content"][headers["content-type"]]
    check_value(problem, content["schema"])
    assert problem["type"].rpartition("/")[2] in content["examples"]
    for name, reference in described.get("headers", {}).items():
        assert name.lower() in headers or not resolved(reference).get("required"), name
