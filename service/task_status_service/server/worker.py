"""gunicorn's gevent worker, with limits for slow clients and an answer to malformed requests.

gunicorn limits the time for the headers of a request (its `keepalive`), but not for the body and the response: this
module does. A slow client occupies a greenlet and not a thread, so it does not delay other clients. The response to a
malformed request is a problem document, and the connection is closed.
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
from task_status_service.server import request_check
from task_status_service.server.connection import ConnectionCheck, CrowdedServer

#: methods whose body is not read
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Worker(GeventWorker):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's gevent worker; its `app` is our `Server`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: number of connections that are accepted and not yet closed
        self._open = 0
        #: the requests that are being answered, by their connection
        self._requests: dict[Any, Any] = {}

    def load_wsgi(self) -> None:
        """Build the app, with the middleware that needs the connection of a request."""
        super().load_wsgi()
        # Not a module-level import: this module is loaded before gevent patches the standard library (gunicorn.py).
        from task_status_service.api.auth.authentication import IS_ADMITTED  # noqa: PLC0415
        from task_status_service.api.waiting import IS_GONE  # noqa: PLC0415

        inner = CrowdedServer(
            self.wsgi, key=IS_ADMITTED, is_crowded=self._is_crowded, close_after_response=self._close_after_response
        )
        self.wsgi: Any = ConnectionCheck(inner, key=IS_GONE)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection, and count it while it is open."""
        self._open += 1
        try:
            super().handle(listener, client, addr)
        finally:
            self._open -= 1

    def _is_crowded(self) -> bool:
        return bool(self._open > self.app.room.kept_alive)

    def _close_after_response(self, client: Any) -> None:
        self._requests[client].force_close()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request of a connection."""
        request_check.check(req)
        settings = self.app.settings
        reader = req.body.reader
        if req.method not in _WITHOUT_BODY:
            req.body.reader = _BodyReader(req, settings.body_seconds)
        # For each write: gevent applies it to a whole `sendall`.
        sock.settimeout(settings.send_seconds)
        self._requests[sock] = req
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            # For this error, gunicorn closes the connection without a log line.
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read") from error
        finally:
            del self._requests[sock]
            # gunicorn limits the time for the rest of the body and for the next request.
            req.body.reader = _RestReader(reader)
            sock.settimeout(None)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a malformed request, or one that failed in the app, and close the connection."""
        if isinstance(exc, gevent.GreenletExit | SystemExit):
            return  # the process ends
        # Not a module-level import: this module is loaded before gevent patches the standard library (gunicorn.py).
        from task_status_service.server import bad_request  # noqa: PLC0415

        problem = bad_request.problem_of(exc)
        if problem.status != http.HTTPStatus.INTERNAL_SERVER_ERROR:
            host = addr[0] if addr else ""
            self.log.warning("Malformed request from %s: %s (request %s)", host, problem.detail, problem.request_id)
        else:
            self.log.error("A request failed (request %s)", problem.request_id, exc_info=exc)
        try:
            client.settimeout(self.app.settings.send_seconds)
            client.sendall(bad_request.answer(problem))
        except OSError:
            return  # the client is gone, or does not read
        # Reads the rest of the request briefly: closing with unread data resets the connection.
        close_graceful(client)


class _BodyReader:
    """Reader of the body of one request, with a deadline.

    Raises errors of the service, which the app turns into responses. gunicorn then closes the connection, because the
    start of the next request is unknown.
    """

    def __init__(self, req: Any, seconds: float) -> None:
        self._req = req
        self._reader = req.body.reader
        self._deadline = time.monotonic() + seconds

    def read(self, size: int) -> Any:
        try:
            # Raised while gunicorn waits for more data; after the deadline, at the next wait.
            with gevent.Timeout(max(0.0, self._deadline - time.monotonic()), BodyTooSlow()):
                return self._reader.read(size)
        except BodyTooSlow:
            self._req.force_close()
            raise
        except ParseException as error:
            self._req.force_close()
            raise BodyMalformed from error


class _RestReader:
    """Reader of the rest of a body after its request is answered."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> Any:
        try:
            return self._reader.read(size)
        except ParseException as error:
            # The client would read a second response as the response to its next request; this closes the connection.
            raise StopIteration from error
