"""WSGI middleware that adds the RateLimit headers to every response to a counted request.

It wraps both Flask and the fast read, so that the headers are set in one place.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from task_status_service.api.auth.rate_limits import rate_limit_headers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class RateLimitHeaders:
    """WSGI middleware: the RateLimit headers of `Limits.count`, which runs inside the wrapped app."""

    def __init__(self, wrapped: "WSGIApplication") -> None:
        self._wrapped = wrapped

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            return start_response(status, [*headers, *rate_limit_headers(environ)], exc_info)

        return self._wrapped(environ, start)
