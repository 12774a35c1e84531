"""Problem documents for malformed HTTP, which gunicorn rejects before the app gets a request."""

import http
from collections.abc import Mapping
from typing import Final

import msgspec
from gunicorn.http import errors
from gunicorn.util import http_date

from task_status_service.api.middleware import browser_headers
from task_status_service.api.responses import problems

#: gunicorn's error -> its status in RFC 9110, 9112 or 6585; all others are 400, because the client caused them
_STATUS: Final[Mapping[type[Exception], int]] = {
    errors.LimitRequestLine: http.HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: http.HTTPStatus.EXPECTATION_FAILED,
    # RFC 9112 section 6.1
    errors.UnsupportedTransferCoding: http.HTTPStatus.NOT_IMPLEMENTED,
}
#: errors of gunicorn that the app causes, not the client
_APP_ERRORS: Final = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
#: limit of the characters of `detail`, which quotes the request
_MAX_DETAIL: Final = 200


def problem_of(error: BaseException) -> problems.Problem:
    """Return the problem of an error in gunicorn; errors that gunicorn does not define are 500."""
    if not isinstance(error, errors.ParseException) or isinstance(error, _APP_ERRORS):
        problem_type = problems.problem_type_of_status(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        return problems.problem_of(problem_type, "The server failed.", instance="")
    status = _STATUS.get(type(error))
    # In the app, 400 means a malformed body.
    problem_type = (
        problems.problem_type_of_status(status)
        if status
        else problems.generic_problem_type(http.HTTPStatus.BAD_REQUEST)
    )
    # The path is unknown; an empty URI reference is valid.
    return problems.problem_of(problem_type, str(error)[:_MAX_DETAIL], instance="")


def answer(problem: problems.Problem) -> bytes:
    """Return the bytes of the response; the connection must be closed after it."""
    body = msgspec.json.encode(problem)
    headers = [
        ("Date", http_date()),
        ("Connection", "close"),
        ("Content-Type", problems.CONTENT_TYPE),
        ("Content-Length", str(len(body))),
        ("Cache-Control", problems.CACHE_CONTROL),
        *browser_headers.ALWAYS,
    ]
    # The phrase in upper case, as werkzeug writes it.
    phrase = http.HTTPStatus(problem.status).phrase.upper()
    lines = [f"HTTP/1.1 {problem.status} {phrase}", *map(": ".join, headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
