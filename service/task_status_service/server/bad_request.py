"""The answer to what is no HTTP, which gunicorn refuses before there is a request that the app could answer."""

import http
from collections.abc import Mapping
from typing import Final

import msgspec
from gunicorn.http import errors
from gunicorn.util import http_date

from task_status_service.api.middleware import browser_headers
from task_status_service.api.responses import problems

#: what RFC 9110 and RFC 6585 have a status for; anything else is 400, and never 5xx: it is not the server that failed
_STATUS: Final[Mapping[type[Exception], int]] = {
    errors.LimitRequestLine: http.HTTPStatus.REQUEST_URI_TOO_LONG,
    errors.LimitRequestHeaders: http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    errors.ExpectationFailed: http.HTTPStatus.EXPECTATION_FAILED,
}
#: what the app gave to gunicorn, and not the client
_OF_THE_APP: Final = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName)
#: characters of `detail`: it quotes what was sent
_MAX_DETAIL: Final = 200


def problem_of(error: BaseException) -> problems.Problem:
    """Say what is wrong with a request that gunicorn cannot read; anything but its own errors is one of ours."""
    if not isinstance(error, errors.ParseException) or isinstance(error, _OF_THE_APP):
        reading = problems.reading_of_status(http.HTTPStatus.INTERNAL_SERVER_ERROR)
        return problems.problem_of(reading, "The server failed.", instance="")
    status = _STATUS.get(type(error))
    # 400 is elsewhere a body that is malformed.
    reading = problems.reading_of_status(status) if status else problems.refusal(http.HTTPStatus.BAD_REQUEST)
    # Which path was asked for nobody knows; an empty reference is valid, and says nothing.
    return problems.problem_of(reading, str(error)[:_MAX_DETAIL], instance="")


def answer(problem: problems.Problem) -> bytes:
    """Write the answer as it goes over the line; the connection is to be closed after it."""
    body = msgspec.json.encode(problem)
    headers = [
        ("Date", http_date()),
        ("Connection", "close"),
        ("Content-Type", problems.CONTENT_TYPE),
        ("Content-Length", str(len(body))),
        ("Cache-Control", problems.CACHE_CONTROL),
        *browser_headers.ALWAYS,
    ]
    lines = [f"HTTP/1.1 {problem.status} {http.HTTPStatus(problem.status).phrase}", *map(": ".join, headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
