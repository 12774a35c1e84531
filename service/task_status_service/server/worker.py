"""gunicorn's gevent worker, for clients that mean no good: those that are slow, and those that speak no HTTP.

gunicorn bounds by itself how long the headers of a request may take (its `keepalive`), and nothing after them. A client
that is slow costs a greenlet and never a thread, so others are answered meanwhile: what is bounded here is how long it
may hold what it costs. What is no HTTP gets an answer like any other request that is refused, and no second one.
"""

import errno
import http
import time
from typing import Any, Final

import gevent
from gunicorn.http.errors import ParseException
from gunicorn.util import close_graceful
from gunicorn.workers.ggevent import GeventWorker

from task_status_service.errors import BodyMalformed, BodyTooSlow

#: requests of which no body is read
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Serve as gunicorn's own does, from the `Server` that has our settings."""

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request of a connection."""
        settings = self.app.settings
        reader = req.body.reader
        if req.method not in _WITHOUT_BODY:
            req.body.reader = _BodyReader(req, settings.body_seconds)
        # For each write: gevent bounds all of one `sendall`.
        sock.settimeout(settings.send_seconds)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            # As if the client had gone away: that is what gunicorn ends without a word in the log.
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from error
        finally:
            # How long to wait for what is left of the body, and for the next request, is bounded by gunicorn.
            req.body.reader = _RestReader(reader)
            sock.settimeout(None)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what gunicorn cannot read, or what the app failed at, and close the connection."""
        if isinstance(exc, gevent.GreenletExit | SystemExit):
            return  # the process ends, and nobody has asked for anything
        # Here and not above: this module is loaded before gevent patches the standard library (gunicorn.py).
        from task_status_service.server import bad_request  # noqa: PLC0415

        problem = bad_request.problem_of(exc)
        if problem.status < http.HTTPStatus.INTERNAL_SERVER_ERROR:
            host = addr[0] if addr else ""
            self.log.warning("Malformed request from %s: %s (request %s)", host, problem.detail, problem.request_id)
        else:
            self.log.error("A request failed (request %s)", problem.request_id, exc_info=exc)
        try:
            client.settimeout(self.app.settings.send_seconds)
            client.sendall(bad_request.answer(problem))
        except OSError:
            return  # it is gone, or does not read
        # What else it has sent is read past for a moment: closed over that, the answer would be lost.
        close_graceful(client)


class _BodyReader:
    """Read the body of one request, which is to be there some time from now.

    Raises our own errors, so that they are answered like all others; gunicorn then closes the connection, for nobody
    knows where the next request would begin.
    """

    def __init__(self, req: Any, seconds: float) -> None:
        self._req = req
        self._reader = req.body.reader
        self._deadline = time.monotonic() + seconds

    def read(self, size: int) -> Any:
        try:
            # Thrown where gunicorn waits for more, at the next wait if the time is over.
            with gevent.Timeout(max(0.0, self._deadline - time.monotonic()), BodyTooSlow()):
                return self._reader.read(size)
        except BodyTooSlow:
            self._req.force_close()
            raise
        except ParseException as error:
            self._req.force_close()
            raise BodyMalformed from error


class _RestReader:
    """Read past what is left of a body when its request is answered."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> Any:
        try:
            return self._reader.read(size)
        except ParseException as error:
            # Another answer would be taken for that to the next request; this ends the connection without a word.
            raise StopIteration from error
