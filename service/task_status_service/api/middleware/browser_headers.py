"""What browsers are told with every answer, whoever makes it: to trust nothing in it, and which pages may read it.

A layer of WSGI around everything else, so that problems, streams and the express reads have it too. An answer comes
with no cookie and none is read, so pages of other origins are allowed nothing but what their own key allows them.
"""

import http
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: with every answer: it is what its type says it is, it runs nothing, and nothing may frame it
ALWAYS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)
#: another caller sees other tasks; and no cache may keep the answer that one origin was given for another
_VARY: Final = ("Vary", "Authorization")
_VARY_BY_ORIGIN: Final = ("Vary", "Authorization, Origin")

#: what a page of a listed origin may read besides the body: all that a client needs that polls politely
EXPOSED: Final = (
    *("ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed"),
    *("Preference-Applied", "WWW-Authenticate"),
)
#: what it may send
METHODS: Final = ("GET", "POST", "DELETE")
REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer"),
)
#: how long a browser may remember that
_PREFLIGHT_SECONDS: Final = 600

_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", ", ".join(METHODS)),
    ("Access-Control-Allow-Headers", ", ".join(REQUEST_HEADERS)),
    ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
)
_NO_CONTENT: Final = f"{http.HTTPStatus.NO_CONTENT.value} {http.HTTPStatus.NO_CONTENT.phrase}"


class BrowserHeaders:
    """Wrap an app's `wsgi_app`. Without origins no page of another origin may read anything."""

    def __init__(self, otherwise: "WSGIApplication", origins: Collection[str] = ()) -> None:
        self._otherwise = otherwise
        self._always = [*ALWAYS, _VARY_BY_ORIGIN if origins else _VARY]
        exposed = ("Access-Control-Expose-Headers", ", ".join(EXPOSED))
        #: the headers for each listed origin, ready made
        self._listed = {origin: [*self._always, ("Access-Control-Allow-Origin", origin), exposed] for origin in origins}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        listed = self._listed.get(environ.get("HTTP_ORIGIN", "")) if self._listed else None
        if listed is not None and _is_preflight(environ):
            # Nobody has sent a key yet: a browser asks this by itself.
            start_response(_NO_CONTENT, [*listed, *_PREFLIGHT])
            return []
        added = listed or self._always

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            # A page that needs more than nothing says what.
            present = {name for name, _ in headers}
            return start_response(status, headers + [one for one in added if one[0] not in present], exc_info)

        return self._otherwise(environ, start)


def _is_preflight(environ: "WSGIEnvironment") -> bool:
    return environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
