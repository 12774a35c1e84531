"""Protection of a server without keys against web pages that are open on the same machine.

Every page in the user's browser can send requests to a local server. Therefore a request must name a loopback host:
otherwise a name that resolves to loopback (DNS rebinding) would share an origin with this server. A request that
changes something must not come from another origin either, because browsers send some of these without a preflight
request (Fetch standard, "CORS-safelisted").
"""

import functools
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from task_status_service.access.loopback import is_loopback
from task_status_service.errors import Forbidden

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: a host and a port; names below `localhost` are loopback too (RFC 6761 section 6.3)
_HOST: Final = re.compile(
    r"(?:(?:[a-z0-9-]{1,63}\.){1,8}(?P<name>localhost)|\[(?P<v6>[0-9a-f:]{2,39})\]|(?P<host>[a-z0-9.]{1,15}))(?::[0-9]{1,5})?",
    re.IGNORECASE,
)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: requests of a page of this server, and of the user, such as a bookmark (Fetch Metadata, Sec-Fetch-Site)
_OWN_SITES: Final = frozenset({"same-origin", "none"})


def check_local(environ: "WSGIEnvironment", origins: Collection[str]) -> None:
    """Require a request from this machine, or from a page of a listed origin.

    Raises:
        Forbidden: The host is not loopback, or the request comes from a page of an origin that is not listed.
    """
    host = environ.get("HTTP_HOST")
    if host is not None and not _is_loopback_header(host):
        raise Forbidden(
            "A server without API keys accepts loopback host names only: use 127.0.0.1 or localhost, or create keys."
        )
    if environ.get("REQUEST_METHOD") in _SAFE_METHODS:
        return
    origin = environ.get("HTTP_ORIGIN")
    if origin is None:
        # A browser may leave out the origin, and a page cannot set this header. Other clients send neither.
        is_other = environ.get("HTTP_SEC_FETCH_SITE", "none") not in _OWN_SITES
    else:
        is_other = origin not in origins and origin.partition("://")[2] != host
    if is_other:
        raise Forbidden(
            "A server without API keys rejects changes from pages of other origins: "
            "list the origin in TASK_STATUS_CORS_ORIGINS."
        )


@functools.lru_cache(maxsize=64)
def _is_loopback_header(header: str) -> bool:
    match = _HOST.fullmatch(header)
    return match is not None and is_loopback(match["name"] or match["v6"] or match["host"])
