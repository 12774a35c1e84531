"""A check for closed client connections, and the WSGI middleware that passes it to the app."""

import functools
import socket
from collections.abc import Iterable
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
