"""gunicorn's gevent worker, with an end to its patience: bodies that trickle in, and clients that do not read.

gunicorn bounds by itself how long the headers of a request may take (its `keepalive`), and nothing after them. A client
that is slow costs a greenlet and never a thread, so others are answered meanwhile: what is bounded here is how long it
may hold what it costs.
"""

import errno
import time
from typing import Any, Final

import gevent
from gunicorn.http.errors import ParseException
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
            # What is left of the body, and the wait for the next request, are bounded by gunicorn.
            req.body.reader = reader
            sock.settimeout(None)


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
