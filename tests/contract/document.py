"""The committed OpenAPI document, indexed for the tests of the running service."""

import json
from typing import Any, Final, NamedTuple

from support.documented import document, validator


class Operation(NamedTuple):
    """One operation, with its method and path."""

    method: str
    path: str
    described: dict[str, Any]

    @property
    def takes_json(self) -> bool:
        """Whether the operation has a request body."""
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
    """Validate a value against a schema."""
    validator(json.dumps(schema)).validate(value)


def check_request(operation: Operation, query: dict[str, list[str]] | None, body: Any) -> None:
    """Validate the query and the body of a request against its operation."""
    if body is not None:
        check_value(body, operation.described["requestBody"]["content"]["application/json"]["schema"])
    parameters = {one["name"]: one["schema"] for one in operation.described.get("parameters", [])}
    for name, values in (query or {}).items():
        check_value(values if parameters[name].get("type") == "array" else values[0], parameters[name])
