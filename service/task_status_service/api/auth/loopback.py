"""Whether a request to a server without keys is meant for this machine, and not from just any page that is open on it.

Every page that the user of a machine visits can send requests to it. So a request must name a loopback host, or a name
that was made to resolve to one (DNS rebinding) would make its page one of this server; and one that changes something
must come from no page of another origin, for some need nobody's leave (Fetch standard, "CORS-safelisted").
"""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from task_status_service.errors import Forbidden

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: RFC 6761 section 6.3, RFC 1122 section 3.2.1.3, RFC 4291 section 2.5.3
_LOOPBACK: Final = re.compile(
    r"(?:(?:[a-z0-9-]{1,63}\.){0,8}localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.IGNORECASE
)
_CHANGES_NOTHING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def check_local(environ: "WSGIEnvironment", origins: Collection[str]) -> None:
    """Let those pass who are on this machine, and pages of the listed origins.

    Raises:
        Forbidden: anybody else.
    """
    host = environ.get("HTTP_HOST")
    if host is not None and _LOOPBACK.fullmatch(host) is None:
        raise Forbidden("A server without keys answers to loopback names only, such as 127.0.0.1 and localhost.")
    origin = environ.get("HTTP_ORIGIN")
    if origin is None or environ.get("REQUEST_METHOD") in _CHANGES_NOTHING:
        return
    if origin not in origins and origin.partition("://")[2] != host:
        raise Forbidden("A server without keys takes nothing from pages of other origins.")
