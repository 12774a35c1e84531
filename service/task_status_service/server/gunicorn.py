"""The server: gunicorn with gevent workers, run from our settings and not from a file of its own."""

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication
from gunicorn.errors import AppImportError
from gunicorn.glogging import Logger

from task_status_service.server import log_format
from task_status_service.settings import Settings

if TYPE_CHECKING:
    from task_status_service.app import Service

#: each with its reason
_CONFIG: Final[dict[str, Any]] = {
    # Thousands of clients that mostly wait; slow ones do not occupy a thread.
    "worker_class": "task_status_service.server.worker.Worker",
    # Not 0: it also bounds how long reading a request's headers may take (gunicorn/workers/base_async.py).
    "keepalive": 5,
    # The most that gunicorn allows, in bytes: a hundred ids in a query.
    "limit_request_line": 8_190,
    "timeout": 30,
    "graceful_timeout": 10,
    # Or a client could say by a header under which path the service lies (SCRIPT_NAME).
    "forwarder_headers": "",
    # A second gunicorn of the same user would unlink the first one's socket.
    "control_socket_disable": True,
    "errorlog": "-",
    "loglevel": "info",
}


_PLAIN_CONNECTIONS: Final = 2_000
#: how soon a worker process sees that it is told to stop
_LOOK_SECONDS: Final = 0.5


class LineLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """Log as gunicorn does, in lines that nobody else can write: it quotes requests that it cannot answer."""

    def setup(self, cfg: Any) -> None:
        """Take over the handlers, and add one for all that is not gunicorn's."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(log_format.LineFormatter(self.error_fmt, self.datefmt))
        log_format.handle_all()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Serve until a signal says stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        #: built in each worker process; None in the master
        self.service: Service | None = None
        super().__init__()

    def load_config(self) -> None:
        """Take gunicorn's configuration from ours."""
        for name, value in _CONFIG.items():
            self.cfg.set(name, value)
        self.cfg.set("bind", self.settings.bind)
        self.cfg.set("workers", self.settings.workers)
        # Those who wait and watch, and room for those who do not.
        self.cfg.set("worker_connections", self.settings.watches + _PLAIN_CONNECTIONS)
        self.cfg.set("post_worker_init", _begin)
        self.cfg.set("worker_exit", _close)
        self.cfg.set("logger_class", LineLogger)

    def load(self) -> Any:
        """Build the service, in each worker process."""
        # Not a module-level import: gevent patches the standard library in the worker before this call, and a module
        # that was imported earlier (ssl, sockets in Celery and redis-py) would stay unpatched.
        from task_status_service.app import create_service  # noqa: PLC0415

        self.service = create_service(self.settings)
        return self.service.app


def _begin(worker: Any) -> None:
    _check_store(worker)
    _end_streams_with(worker)
    _resend_beside(worker)


def _check_store(worker: Any) -> None:
    """Log how the store may lose tasks, or end the server if the settings forbid that.

    Only in the first worker process, because the master may import no module that gevent must patch. `/readyz` checks
    again on each request, also after an outage of the store.
    """
    if worker.age > 1:
        return
    from task_status_service.errors import StoreUnavailable, StoreVolatile  # noqa: PLC0415 - as in load

    try:
        warnings = worker.app.service.readiness.check_store()
    except StoreUnavailable:
        warnings = ["Redis does not answer, so its durability was not checked: see /readyz when it is back."]
    except StoreVolatile as error:
        # AppImportError is the one exception for which gunicorn prints the text and does not restart the worker.
        raise AppImportError(str(error)) from error
    for warning in warnings:
        worker.log.warning(warning)


def _resend_beside(worker: Any) -> None:
    """Resend lost messages in a thread for as long as the worker process serves."""
    resender = worker.app.service.resender
    if resender is not None:
        threading.Thread(target=resender.run, args=(lambda: not worker.alive,), name="resender", daemon=True).start()


def _end_streams_with(worker: Any) -> None:
    """End waits and streams when the worker process is told to stop, so that it need not wait for them."""

    def watch() -> None:
        while worker.alive:
            time.sleep(_LOOK_SECONDS)
        worker.app.service.feed.close()

    threading.Thread(target=watch, name="task-status-shutdown", daemon=True).start()


def _close(_server: Any, worker: Any) -> None:
    """Close the connections of a worker process that ends; one that failed to start has built no service."""
    service = worker.app.service
    if service is not None:
        service.close()
