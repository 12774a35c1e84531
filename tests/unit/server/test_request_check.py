"""The checks of a parsed request; acceptance/test_slow_clients.py tests them over sockets."""

from types import SimpleNamespace

import pytest
from gunicorn.http.errors import InvalidHeader, UnsupportedTransferCoding
from task_status_service.server.request_check import check


def request_of(*headers: tuple[str, str], version: tuple[int, int] = (1, 1)) -> SimpleNamespace:
    """Return a request as gunicorn parses it, with names in upper case."""
    return SimpleNamespace(headers=list(headers), version=version)


@pytest.mark.parametrize(
    "host",
    ["a", "127.0.0.1:8000", "[::1]", "[::1]:80", "tasks.example.com.", "a_b", "xn--bcher-kva.de:",
     "a%2Fb", "[v1.a]", "x" * 255],
)  # fmt: skip
def test_valid_hosts(host: str) -> None:
    """A host of RFC 3986 with an optional port is accepted."""
    check(request_of(("HOST", host)))


@pytest.mark.parametrize("host", ["", " ", "a b", "a\tb", "a@b", "a/b", "a:b:c", ":80", "[]", "é", "x" * 256, "a%2"])
def test_invalid_hosts(host: str) -> None:
    """Any other host is rejected, for each version of HTTP."""
    for version in ((1, 0), (1, 1)):
        with pytest.raises(InvalidHeader):
            check(request_of(("HOST", host), version=version))


def test_a_host_is_required_since_http_1_1() -> None:
    """Only HTTP/1.0 has requests without a host."""
    check(request_of(version=(1, 0)))
    with pytest.raises(InvalidHeader):
        check(request_of(("ACCEPT", "*/*")))


def test_chunked_is_the_only_coding() -> None:
    """A body with another transfer coding is not read as if it had none."""
    check(request_of(("HOST", "a"), ("TRANSFER-ENCODING", "Chunked")))
    for coding in ("gzip, chunked", "gzip", "identity", "chunked, chunked", "", "chunked,"):
        with pytest.raises(UnsupportedTransferCoding):
            check(request_of(("HOST", "a"), ("TRANSFER-ENCODING", coding)))
