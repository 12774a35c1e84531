"""Problems of malformed requests; acceptance/test_slow_clients.py tests them over sockets."""

import socket
from http import HTTPStatus

import gevent
import pytest
from gunicorn.http import errors
from task_status_service.server.bad_request import answer, problem_of
from task_status_service.server.worker import Worker

MARKUP = "<script>\r\nSet-Cookie: a=b"


@pytest.mark.parametrize(
    ("error", "status", "slug"),
    [
        (errors.InvalidRequestLine(MARKUP), 400, "http-error"),
        (errors.InvalidHeader(MARKUP), 400, "http-error"),
        (errors.UnsupportedTransferCoding(MARKUP), 501, "http-error"),
        (errors.InvalidProxyHeader(MARKUP), 400, "http-error"),
        (errors.LimitRequestLine(9_000, 8_190), 414, "uri-too-long"),
        (errors.ExpectationFailed(MARKUP), 417, "http-error"),
        (errors.LimitRequestHeaders(MARKUP), 431, "http-error"),
        (errors.InvalidResponseHeader(MARKUP), 500, "internal-error"),
        (errors.InvalidResponseHeaderName(MARKUP), 500, "internal-error"),
        (RuntimeError(MARKUP), 500, "internal-error"),
        (KeyboardInterrupt(MARKUP), 500, "internal-error"),
    ],
)
def test_problem_of(error: BaseException, status: int, slug: str) -> None:
    """The problem describes an error of the client, and hides an error of the server."""
    problem = problem_of(error)
    head, _, body = answer(problem).partition(b"\r\n\r\n")

    assert (problem.status, problem.type) == (status, f"/problems/{slug}")
    assert head.startswith(f"HTTP/1.1 {status} {HTTPStatus(status).phrase.upper()}\r\n".encode())
    assert b"Set-Cookie" not in head
    assert (b"Set-Cookie" in body) == (status not in (414, 500))


def test_limits_the_quoted_request() -> None:
    """The detail quotes at most the limit of the request."""
    assert len(answer(problem_of(errors.InvalidRequestLine("x" * 8_000)))) < 1_000


@pytest.mark.parametrize("ending", [gevent.GreenletExit(), SystemExit()])
def test_closes_idle_connections_of_a_process_that_ends(ending: BaseException) -> None:
    """A connection without a request gets no response and no log line when the process ends."""
    ours, theirs = socket.socketpair()
    worker = object.__new__(Worker)  # without gunicorn's set-up, so without a log
    worker.handle_error(None, ours, ("127.0.0.1", 1), ending)
    ours.close()
    assert theirs.recv(1_000) == b""
    theirs.close()
