"""WSGI middleware that adds security and CORS headers to every response, including problems, streams and fast reads.

The service neither sets nor reads cookies, so a page of another origin can do only what its own key permits.
"""

import http
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: sent with every response: no content sniffing, no active content, no framing, no referrer
ALWAYS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
)
#: responses depend on the caller, and with CORS on the origin: a shared cache must not mix them
_VARY: Final = ("Vary", "Authorization")
_VARY_BY_ORIGIN: Final = ("Vary", "Authorization, Origin")

#: response headers that a page of a listed origin may read
EXPOSED: Final = (
    *("ETag", "Location", "Retry-After", "RateLimit", "RateLimit-Policy", "Idempotency-Replayed"),
    *("Preference-Applied", "WWW-Authenticate"),
)
#: methods and request headers that it may send
METHODS: Final = ("GET", "POST", "DELETE")
REQUEST_HEADERS: Final = (
    *("Authorization", "Content-Type", "Idempotency-Key", "If-None-Match", "Last-Event-ID", "Prefer"),
)
#: seconds for which a browser may cache the preflight response
_PREFLIGHT_SECONDS: Final = 600

_PREFLIGHT: Final = (
    ("Access-Control-Allow-Methods", ", ".join(METHODS)),
    ("Access-Control-Allow-Headers", ", ".join(REQUEST_HEADERS)),
    ("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS)),
)
_NO_CONTENT: Final = f"{http.HTTPStatus.NO_CONTENT.value} {http.HTTPStatus.NO_CONTENT.phrase.upper()}"


class BrowserHeaders:
    """WSGI middleware. Without origins, no page of another origin may read a response."""

    def __init__(self, wrapped: "WSGIApplication", origins: Collection[str] = ()) -> None:
        self._wrapped = wrapped
        self._always = [*ALWAYS, _VARY_BY_ORIGIN if origins else _VARY]
        exposed = ("Access-Control-Expose-Headers", ", ".join(EXPOSED))
        #: response headers by listed origin
        self._listed = {origin: [*self._always, ("Access-Control-Allow-Origin", origin), exposed] for origin in origins}

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        listed = self._listed.get(environ.get("HTTP_ORIGIN", "")) if self._listed else None
        if listed is not None and _is_preflight(environ):
            # A browser sends a preflight request without a key.
            start_response(_NO_CONTENT, [*listed, *_PREFLIGHT])
            return []
        added = listed or self._always

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            # The docs page sets its own Content-Security-Policy.
            present = {name for name, _ in headers}
            return start_response(status, headers + [one for one in added if one[0] not in present], exc_info)

        return self._wrapped(environ, start)


def _is_preflight(environ: "WSGIEnvironment") -> bool:
    return environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
