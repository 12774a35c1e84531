"""Checks of HTTP that gunicorn leaves to the app: the Host header and the transfer coding of a request."""

import functools
import re
from typing import Any, Final

from gunicorn.http.errors import InvalidHeader, UnsupportedTransferCoding

#: RFC 3986 section 3.2.2, without the user information; an empty host is no http URI (RFC 9110 section 4.2.1)
_HOST: Final = re.compile(
    r"(?:\[[0-9A-Za-z:._~!$&'()*+,;=-]{2,255}\]|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}){1,255})(?::[0-9]{0,5})?"
)
_FIRST_WITH_HOST: Final = (1, 1)


def check(request: Any) -> None:
    """Require a valid host, and a body that is coded in no other way than in chunks.

    gunicorn rejects a second Host header, accepts a missing one, and returns the body of `gzip, chunked` compressed.

    Raises:
        InvalidHeader: The Host header is invalid, or missing in HTTP/1.1 (RFC 9112 section 3.2).
        UnsupportedTransferCoding: A transfer coding is not `chunked` (RFC 9112 section 6.1).
    """
    host = None
    for name, value in request.headers:
        if name == "HOST":
            host = value
        elif name == "TRANSFER-ENCODING" and value.lower() != "chunked":
            raise UnsupportedTransferCoding(value)
    if host is None:
        if request.version >= _FIRST_WITH_HOST:
            raise InvalidHeader("HOST", req=request)
    elif not _is_host(host):
        raise InvalidHeader("HOST", req=request)


@functools.lru_cache(maxsize=64)
def _is_host(text: str) -> bool:
    # Cached, because most clients send the same one.
    return _HOST.fullmatch(text) is not None
