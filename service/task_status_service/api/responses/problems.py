"""Errors as problem+json (RFC 9457): tables from our exceptions and those of libraries to HTTP."""

import http
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
from flask import Flask, Response, request
from msgspec import Meta
from werkzeug.exceptions import HTTPException

from task_status_service.errors import (
    BodyMalformed,
    BodyTooSlow,
    BrokerUnavailable,
    Fault,
    Forbidden,
    IdempotencyConflict,
    IdempotencyInFlight,
    InvalidArguments,
    NoResult,
    NotReady,
    QuotaExceeded,
    RateLimited,
    StoreFull,
    StoreUnavailable,
    TaskDone,
    TaskExpired,
    TaskNotDone,
    TaskNotFound,
    TaskNotRepeatable,
    TaskStatusError,
    TaskTypeNotFound,
    TooManyQueued,
    TooManyWatches,
    Unauthorized,
    UnknownQueue,
    UnknownTaskType,
    json_pointer,
)

log = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
CACHE_CONTROL: Final = "no-store"


class ProblemFault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault of the request."""

    detail: Annotated[str, Meta(description="Description of the fault, and the expected value.")]
    pointer: Annotated[
        str | None, Meta(description="Position in the body: a JSON Pointer as a URI fragment, such as `#/kwargs/x`.")
    ] = None
    parameter: Annotated[str | None, Meta(description="Name of the query parameter or header.")] = None


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A problem with a request (RFC 9457)."""

    type: Annotated[str, Meta(description="Stable identifier of the problem type, such as `/problems/task-not-found`.")]
    title: Annotated[str, Meta(description="Short name of the problem type.")]
    status: Annotated[int, Meta(description="The HTTP status code.")]
    detail: Annotated[str, Meta(description="Explanation of this occurrence, for a person.")]
    instance: Annotated[str, Meta(description="Path of the request.")]
    errors: Annotated[list[ProblemFault], Meta(description="Each fault of the input; empty for other problems.")]
    request_id: Annotated[str, Meta(description="Identifies this request in the server's log.")]


class ProblemType(msgspec.Struct, frozen=True):
    """The HTTP response to one kind of error."""

    status: int
    slug: str
    title: str
    #: log level; a mistake of a client is logged at DEBUG
    level: int = logging.DEBUG
    #: the response has `Retry-After`
    is_temporary: bool = False
    #: headers of every such response
    headers: Mapping[str, str] = {}


#: our exceptions; the most specific listed class of an exception is used. store/errors.py logs those of the store, once
#: for each cause
PROBLEM_TYPES: Final[Mapping[type[TaskStatusError], ProblemType]] = {
    Unauthorized: ProblemType(401, "unauthorized", "Unauthorized", headers={"WWW-Authenticate": "Bearer"}),
    Forbidden: ProblemType(403, "forbidden", "Forbidden"),
    TaskNotFound: ProblemType(404, "task-not-found", "No such task"),
    TaskExpired: ProblemType(410, "task-expired", "Task expired"),
    TaskNotDone: ProblemType(409, "task-not-done", "Task not done"),
    TaskDone: ProblemType(409, "task-done", "Task done"),
    TaskNotRepeatable: ProblemType(409, "task-not-repeatable", "Task not repeatable"),
    NoResult: ProblemType(409, "no-result", "No result"),
    TooManyWatches: ProblemType(429, "rate-limited", "Too many requests", is_temporary=True),
    RateLimited: ProblemType(429, "rate-limited", "Too many requests", is_temporary=True),
    TooManyQueued: ProblemType(429, "too-many-queued", "Too many tasks queued", is_temporary=True),
    QuotaExceeded: ProblemType(429, "quota-exceeded", "Quota exceeded", is_temporary=True),
    UnknownTaskType: ProblemType(422, "unknown-task-type", "Unknown task type"),
    UnknownQueue: ProblemType(422, "unknown-queue", "Unknown queue"),
    TaskTypeNotFound: ProblemType(404, "task-type-not-found", "No such task type"),
    InvalidArguments: ProblemType(422, "validation", "Invalid input"),
    BodyMalformed: ProblemType(400, "malformed-json", "Malformed request"),
    BodyTooSlow: ProblemType(408, "body-too-slow", "Body too slow"),
    IdempotencyConflict: ProblemType(422, "idempotency-conflict", "Idempotency-Key used otherwise"),
    IdempotencyInFlight: ProblemType(409, "idempotency-in-flight", "Idempotency-Key in flight", is_temporary=True),
    StoreUnavailable: ProblemType(503, "store-unavailable", "Store unavailable", is_temporary=True),
    StoreFull: ProblemType(503, "store-full", "Store full", is_temporary=True),
    BrokerUnavailable: ProblemType(503, "broker-unavailable", "Broker unavailable", logging.WARNING, is_temporary=True),
    NotReady: ProblemType(503, "not-ready", "Not ready", is_temporary=True),
}

#: exceptions of Flask, webargs and werkzeug, by status
HTTP_PROBLEM_TYPES: Final[Mapping[int, ProblemType]] = {
    400: ProblemType(400, "malformed-json", "Malformed request"),
    404: ProblemType(404, "not-found", "No such page"),
    405: ProblemType(405, "method-not-allowed", "Method not allowed"),
    413: ProblemType(413, "payload-too-large", "Payload too large"),
    # Raised by gunicorn before there is a request: see server/bad_request.py.
    414: ProblemType(414, "uri-too-long", "URI too long"),
    415: ProblemType(415, "unsupported-media-type", "Unsupported media type"),
    422: ProblemType(422, "validation", "Invalid input"),
    500: ProblemType(500, "internal-error", "Internal error", logging.ERROR),
}

#: libraries' exceptions with any other status
FALLBACK: Final = ProblemType(400, "http-error", "HTTP error")

#: webargs' name of the body
_BODY_LOCATION: Final = "json"


def register(app: Flask) -> None:
    """Answer our exceptions as problems; flask-smorest calls `ProblemApi.handle_http_exception` for the others."""
    app.register_error_handler(TaskStatusError, _answer_our_error)


def problem_type_of_status(status: int) -> ProblemType:
    """Return the problem type of a library's error by its status."""
    return HTTP_PROBLEM_TYPES.get(status) or generic_problem_type(status)


def generic_problem_type(status: int) -> ProblemType:
    """Return a generic problem type whose title is the phrase of the status."""
    return ProblemType(status, FALLBACK.slug, http.HTTPStatus(status).phrase)


def problem_of(problem_type: ProblemType, detail: str, *, instance: str, faults: list[Fault] | None = None) -> Problem:
    """Create a problem with a new request id."""
    return Problem(
        type=f"/problems/{problem_type.slug}",
        title=problem_type.title,
        status=problem_type.status,
        detail=detail,
        instance=instance,
        errors=[ProblemFault(fault.detail, fault.pointer, fault.parameter) for fault in faults or []],
        request_id=secrets.token_hex(8),
    )


def problem_response(
    problem_type: ProblemType,
    detail: str,
    *,
    faults: list[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
    retry_after_seconds: int = TaskStatusError.retry_after_seconds,
) -> Response:
    """Build the response for a problem, and log it."""
    problem = problem_of(problem_type, detail, instance=request.path, faults=faults)
    log.log(problem_type.level, "%s %s: %s (request %s)", problem_type.slug, request.path, detail, problem.request_id)
    response = Response(msgspec.json.encode(problem), problem_type.status, headers, content_type=CONTENT_TYPE)
    response.headers["Cache-Control"] = CACHE_CONTROL
    response.headers.update(problem_type.headers)
    if problem_type.is_temporary:
        response.headers["Retry-After"] = str(retry_after_seconds)
    return response


def _answer_our_error(error: TaskStatusError) -> Response:
    for kind in type(error).__mro__:
        if problem_type := PROBLEM_TYPES.get(kind):
            return problem_response(
                problem_type, str(error), faults=error.faults, retry_after_seconds=error.retry_after_seconds
            )
    raise error


def answer_http_exception(error: HTTPException) -> Response:
    """Answer an exception of Flask, werkzeug or webargs, with its headers, such as `Allow`."""
    code = error.code or http.HTTPStatus.INTERNAL_SERVER_ERROR
    if code < http.HTTPStatus.BAD_REQUEST:
        return Response(status=code, headers=dict(error.get_headers()))
    problem_type = problem_type_of_status(code)
    kept = {name: text for name, text in error.get_headers() if name.lower() not in ("content-type", "content-length")}
    # webargs attaches the messages of marshmallow to the exception.
    messages = (getattr(error, "data", None) or {}).get("messages")
    if messages is None:
        return problem_response(problem_type, error.description or problem_type.title, headers=kept)
    faults = list(_faults(messages))
    return problem_response(
        problem_type, f"The request is invalid: correct the {len(faults)} listed error(s).", faults=faults, headers=kept
    )


def _faults(messages: Mapping[str, Any]) -> Iterator[Fault]:
    """Flatten marshmallow's messages: location, then field names and list positions, then lists of text."""
    for location, found in messages.items():
        for path, text in _leaves(found, ()):
            if location == _BODY_LOCATION:
                yield Fault(text, pointer=json_pointer(path))
            else:
                yield Fault(text, parameter=str(path[0]) if path else location)


def _leaves(found: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    if isinstance(found, Mapping):
        for step, inner in found.items():
            yield from _leaves(inner, path if step == "_schema" else (*path, step))
    elif isinstance(found, list):
        for text in found:
            yield from _leaves(text, path)
    else:
        yield path, str(found)
