"""Answers of operations, as the document describes them."""

import http
from collections.abc import Iterable, Mapping
from typing import Any, Final

from task_status_service.api.openapi import headers
from task_status_service.api.responses.problems import CONTENT_TYPE, HTTP_READINGS, PROBLEM_TYPES, ProblemType
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
#: what an operation may fail with: one of our exceptions, or the status of one of Flask's
Kind = type[TaskStatusError] | http.HTTPStatus

#: inline, without a type: what every generator reads as any JSON
ANY_JSON: Final = {"description": "Any JSON."}

#: of every operation that asks who calls
OF_CALLERS: Final[tuple[Kind, ...]] = (Unauthorized, Forbidden, RateLimited)
#: of those with a task in their path
OF_A_TASK: Final[tuple[Kind, ...]] = (TaskNotFound, TaskExpired)
#: of those whose query may be longer than a request line
OF_A_LONG_QUERY: Final[tuple[Kind, ...]] = (http.HTTPStatus.REQUEST_URI_TOO_LONG,)
OF_READING: Final[tuple[Kind, ...]] = (StoreUnavailable,)
OF_WRITING: Final[tuple[Kind, ...]] = (StoreUnavailable, StoreFull)
#: of those that take a body
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
    """Describe an answer in JSON: its schema or the component that it is, and the names of its examples."""
    content = {
        "schema": {"$ref": f"#/components/schemas/{schema}"} if isinstance(schema, str) else schema,
        "examples": named(*examples),
    }
    return {**empty(description, headers=headers), "content": {"application/json": content}}


def named(*examples: str) -> dict[str, Any]:
    """Refer to examples of `examples.py`."""
    return {name: {"$ref": f"#/components/examples/{name}"} for name in examples}


def empty(description: str, *, headers: Mapping[str, str] | None = None) -> Response:
    """Describe an answer without a body."""
    return {"description": description, "headers": dict(headers)} if headers else {"description": description}


def with_rate_limit(status: int, described: Response) -> Response:
    """Add the headers that tell the sender of a request what is left of its limit; who is not known is told nothing."""
    # Of a line that is too long nobody has read who sent it.
    if status == http.HTTPStatus.REQUEST_URI_TOO_LONG:
        return described
    return {**described, "headers": {**described.get("headers", {}), **headers.RATE_LIMIT}}


NOT_MODIFIED: Final = empty("Nothing has changed since the version that `If-None-Match` names.", headers=headers.POLLED)
#: of what may always change: there is no telling when
NOT_MODIFIED_LIVE: Final = empty(NOT_MODIFIED["description"], headers=headers.CACHED)


def reading_of(kind: Kind) -> ProblemType:
    """Give how a kind of error reads in HTTP."""
    return HTTP_READINGS[kind] if isinstance(kind, http.HTTPStatus) else PROBLEM_TYPES[kind]


def problems(kinds: Iterable[Kind]) -> dict[int, Response]:
    """Describe the problems that an operation may answer, by status: each by an example, which is named by its slug."""
    by_status: dict[int, dict[str, ProblemType]] = {}
    for reading in map(reading_of, kinds):
        by_status.setdefault(reading.status, {})[reading.slug] = reading
    return {status: _problem(list(readings.values())) for status, readings in by_status.items()}


def _problem(readings: list[ProblemType]) -> Response:
    described: Response = {
        "description": "; ".join(dict.fromkeys(reading.title for reading in readings)),
        "content": {
            CONTENT_TYPE: {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "examples": named(*(reading.slug for reading in readings)),
            }
        },
    }
    own = {name: name.replace("-", "") for reading in readings for name in reading.headers}
    if any(reading.passes for reading in readings):
        always = all(reading.passes for reading in readings)
        own["Retry-After"] = "RetryAfterProblem" if always else "RetryAfterIfItPasses"
    return {**described, "headers": own} if own else described
