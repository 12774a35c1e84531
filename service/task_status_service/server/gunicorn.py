"""gunicorn with gevent workers, configured only by the settings of the service."""

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from gunicorn.app.base import BaseApplication
from gunicorn.errors import AppImportError
from gunicorn.glogging import Logger

from task_status_service.access.shared_memory import LimitMemory
from task_status_service.server import log_format
from task_status_service.server.open_files import make_room
from task_status_service.settings import Settings

if TYPE_CHECKING:
    from task_status_service.app import Service

_CONFIG: Final[dict[str, Any]] = {
    # gevent, because thousands of clients mostly wait, and a slow client must not occupy a thread.
    "worker_class": "task_status_service.server.worker.Worker",
    # Not 0: it also limits the seconds for reading the headers of a request (gunicorn/workers/base_async.py).
    "keepalive": 5,
    # gunicorn's maximum, in bytes: a query may contain a hundred ids.
    "limit_request_line": 8_190,
    "timeout": 30,
    "graceful_timeout": 10,
    # Empty, because a client could otherwise set the path prefix of the service by a header (SCRIPT_NAME).
    "forwarder_headers": "",
    # With a control socket, a second gunicorn of the same user would unlink the socket of the first.
    "control_socket_disable": True,
    "errorlog": "-",
    "loglevel": "info",
}

#: method, path without the query, status, milliseconds; https://docs.gunicorn.org/en/stable/settings.html
_ACCESS_LOG_FORMAT: Final = "%(m)s %(U)s %(s)s %(M)s ms"
#: pause between two checks whether a worker process must stop
_CHECK_SECONDS: Final = 0.5


class LineLogger(Logger):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn's logger with safe lines: gunicorn logs text of malformed requests."""

    def setup(self, cfg: Any) -> None:
        """Format gunicorn's handlers, and handle the logs of all other libraries."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(log_format.LineFormatter(self.error_fmt, self.datefmt))
        for handler in self.access_log.handlers:
            handler.setFormatter(log_format.LineFormatter(self.access_fmt))
        log_format.handle_all()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured by our settings; it runs until a signal stops it."""

    def __init__(self, settings: Settings) -> None:
        #: the connections of each process; worker processes inherit the limit of open files
        self.room = make_room(settings.watches)
        self.settings = msgspec.structs.replace(settings, watches=self.room.watches)
        # Twice the processes, because a reload starts new ones before it ends the old ones.
        self.memory = LimitMemory(2 * settings.workers)
        #: number of this worker process in the memory; None if all of it is in use
        self.process: int | None = None
        #: built in each worker process; None in the master
        self.service: Service | None = None
        super().__init__()

    def load_config(self) -> None:
        """Derive gunicorn's configuration from the settings."""
        for name, value in _CONFIG.items():
            self.cfg.set(name, value)
        self.cfg.set("bind", self.settings.bind)
        self.cfg.set("workers", self.settings.workers)
        self.cfg.set("worker_connections", self.room.connections)
        self.cfg.set("on_starting", warn_of_room)
        self.cfg.set("pre_fork", claim_memory)
        self.cfg.set("child_exit", release_memory)
        self.cfg.set("post_worker_init", _begin)
        self.cfg.set("worker_exit", close_service)
        self.cfg.set("logger_class", LineLogger)
        if self.settings.access_log:
            self.cfg.set("accesslog", "-")
            self.cfg.set("access_log_format", _ACCESS_LOG_FORMAT)

    def load(self) -> Any:
        """Build the service, in each worker process."""
        # Not a module-level import: gevent patches the standard library in the worker before this call, and a module
        # imported earlier (ssl, sockets in Celery and redis-py) would stay unpatched.
        from task_status_service.app import create_service  # noqa: PLC0415

        self.service = create_service(self.settings, self.memory, self.process)
        return self.service.app


def warn_of_room(server: Any) -> None:
    """Log a limit of open files that is too small for the settings, once, when the server starts."""
    warning = server.app.room.warning
    if warning:
        server.log.warning(warning)


def claim_memory(_server: Any, worker: Any) -> None:
    """Reserve memory for the counts of a worker process, in the master before the fork."""
    worker.process = worker.app.process = worker.app.memory.claim()


def release_memory(_server: Any, worker: Any) -> None:
    """Free the memory of a worker process that has ended, in the master."""
    worker.app.memory.release(worker.process)


def _begin(worker: Any) -> None:
    check_store(worker)
    _end_streams_at_shutdown(worker)
    _start_resender(worker)
    _start_sweeper(worker)


def check_store(worker: Any) -> None:
    """Log the durability warnings of the store, or end the server if the settings forbid them.

    Runs in the first worker process only: the master must not import modules that gevent patches. `/readyz` checks
    again on each request.
    """
    if worker.age > 1:
        return
    from task_status_service.errors import StoreUnavailable, StoreVolatile  # noqa: PLC0415 - as in load

    try:
        warnings = worker.app.service.readiness.check_store()
    except StoreUnavailable as error:
        warnings = [f"{error.cause} The durability of the store was not checked: see /readyz later."]
    except StoreVolatile as error:
        # For AppImportError alone, gunicorn prints the text and does not restart the worker.
        raise AppImportError(str(error)) from error
    for warning in warnings:
        worker.log.warning(warning)


def _start_resender(worker: Any) -> None:
    """Resend lost messages in a thread while the worker process runs."""
    resender = worker.app.service.resender
    if resender is not None:
        threading.Thread(target=resender.run, args=(lambda: not worker.alive,), name="resender", daemon=True).start()


def _start_sweeper(worker: Any) -> None:
    """Expire tasks in a thread while the worker process runs."""
    sweeper = worker.app.service.sweeper
    threading.Thread(target=sweeper.run, args=(lambda: not worker.alive,), name="sweeper", daemon=True).start()


def _end_streams_at_shutdown(worker: Any) -> None:
    """End waits and streams when the worker process must stop, so that it does not wait for them."""
    threading.Thread(target=close_feed_when_stopped, args=(worker,), name="task-status-shutdown", daemon=True).start()


def close_feed_when_stopped(worker: Any) -> None:
    """Close the feed when the worker process must stop; log a failure."""
    while worker.alive:
        time.sleep(_CHECK_SECONDS)
    try:
        worker.app.service.feed.close()
    except Exception:
        # The process ends anyway, after `graceful_timeout`.
        worker.log.exception("Waits and streams were not ended; the worker process waits for them")


def close_service(_server: Any, worker: Any) -> None:
    """Close the connections of a worker process that ends; after a failed start there is no service to close."""
    service = worker.app.service
    if service is not None:
        service.close()
