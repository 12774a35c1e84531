"""Responses of operations in the OpenAPI document."""

import http
from collections.abc import Iterable, Mapping
from typing import Any, Final

from task_status_service.api.openapi import headers
from task_status_service.api.responses.problems import CONTENT_TYPE, HTTP_PROBLEM_TYPES, PROBLEM_TYPES, ProblemType
from task_status_service.errors import (
    BodyMalformed,
    BodyTooSlow,
    Forbidden,
    RateLimited,
    StoreFull,
    StoreUnavailable,
    TaskExpired,
    TaskNotFound,
    TaskStatusError,
    Unauthorized,
)

Response = dict[str, Any]
#: error of an operation: one of our exceptions, or the status of an exception of Flask
Kind = type[TaskStatusError] | http.HTTPStatus

#: inline and without a type, which every client generator reads as any JSON
ANY_JSON: Final = {"description": "Any JSON."}

#: errors of every operation that authenticates
OF_CALLERS: Final[tuple[Kind, ...]] = (Unauthorized, Forbidden, RateLimited)
#: errors of operations with a task id in the path
OF_A_TASK: Final[tuple[Kind, ...]] = (TaskNotFound, TaskExpired)
#: errors of operations whose query may exceed the length of a request line
OF_A_LONG_QUERY: Final[tuple[Kind, ...]] = (http.HTTPStatus.REQUEST_URI_TOO_LONG,)
OF_READING: Final[tuple[Kind, ...]] = (StoreUnavailable,)
OF_WRITING: Final[tuple[Kind, ...]] = (StoreUnavailable, StoreFull)
#: errors of operations with a body
OF_A_BODY: Final[tuple[Kind, ...]] = (
    BodyMalformed,
    BodyTooSlow,
    http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    http.HTTPStatus.UNPROCESSABLE_ENTITY,
)


def json(
    schema: str | Response, description: str, *examples: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Describe a JSON response by a schema, or the name of one, and the names of its examples."""
    content = {
        "schema": {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema,
        "examples": named(*examples),
    }
    return {**empty(description, headers=headers), "content": {"application/json": content}}


def named(*examples: str) -> dict[str, Any]:
    """Return references to examples of `examples.py`."""
    return {name: {"$ref": f"#/components/examples/{name}"} for name in examples}


def empty(description: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Describe a response without a body."""
    return {"description": description, "headers": dict(headers)} if headers else {"description": description}


def with_rate_limit(status: int, described: Response) -> Response:
    """Add the RateLimit headers to the response of an operation that authenticates."""
    # A request line that is too long is rejected before authentication.
    if status == http.HTTPStatus.REQUEST_URI_TOO_LONG:
        return described
    return {**described, "headers": {**described.get("headers", {}), **headers.RATE_LIMIT}}


NOT_MODIFIED: Final = empty("Not modified since the version in `If-None-Match`.", headers=headers.POLLED)
#: for resources without a polling interval
NOT_MODIFIED_LIVE: Final = empty(NOT_MODIFIED["description"], headers=headers.CACHED)


def problem_type_of(kind: Kind) -> ProblemType:
    """Return the problem type of an error."""
    return HTTP_PROBLEM_TYPES[kind] if isinstance(kind, http.HTTPStatus) else PROBLEM_TYPES[kind]


def problems(kinds: Iterable[Kind]) -> dict[int, Response]:
    """Describe the problems of an operation by status; each has an example named by its slug."""
    by_status: dict[int, dict[str, ProblemType]] = {}
    for problem_type in map(problem_type_of, kinds):
        by_status.setdefault(problem_type.status, {})[problem_type.slug] = problem_type
    return {status: _problem(list(problem_types.values())) for status, problem_types in by_status.items()}


def _problem(problem_types: list[ProblemType]) -> Response:
    described: Response = {
        "description": "; ".join(dict.fromkeys(problem_type.title for problem_type in problem_types)),
        "content": {
            CONTENT_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": named(*(problem_type.slug for problem_type in problem_types)),
            }
        },
    }
    own = {name: name.replace("-", "") for problem_type in problem_types for name in problem_type.headers}
    if any(problem_type.is_temporary for problem_type in problem_types):
        always = all(problem_type.is_temporary for problem_type in problem_types)
        own["Retry-After"] = "RetryAfterProblem" if always else "RetryAfterIfItPasses"
    return {**described, "headers": own} if own else described
