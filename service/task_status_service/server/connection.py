"""WSGI middleware for connections: a check for closed ones, and places for known callers on a crowded server."""

import functools
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class ConnectionCheck:
    """WSGI middleware: puts a callable into the environ that returns whether the client has closed its connection."""

    def __init__(self, app: "WSGIApplication", *, key: str) -> None:
        """Wrap an app that reads the callable under `key`."""
        self._app = app
        self._key = key

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        environ[self._key] = functools.partial(is_gone, environ["gunicorn.socket"])
        return self._app(environ, start_response)


class CrowdedServer:
    """WSGI middleware: on a crowded server, close the connection of each client that was not admitted.

    Otherwise clients without a key, or beyond their limit, could keep all connections forever with a request on each
    every few seconds. An admitted caller keeps its connection.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        key: str,
        is_crowded: Callable[[], bool],
        close_after_response: Callable[[Any], None],
    ) -> None:
        """Wrap an app that sets `key` in the environ of an admitted request."""
        self._app = app
        self._key = key
        self._is_crowded = is_crowded
        self._close_after_response = close_after_response

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        if not self._is_crowded():
            return self._app(environ, start_response)

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
            if not environ.get(self._key):
                self._close_after_response(environ["gunicorn.socket"])
            return start_response(status, headers, exc_info)

        return self._app(environ, start)


def is_gone(connection: Any) -> bool:
    """Return whether the client has closed its connection, without reading from the socket."""
    try:
        # gevent's `recv` waits despite MSG_DONTWAIT.
        plain = getattr(connection, "_sock", connection)
        return bool(plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
    except BlockingIOError:
        return False
    except OSError:
        return True
