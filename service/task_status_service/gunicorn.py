"""The server: gunicorn with gevent workers, run from our settings and not from a file of its own."""

from typing import Any, Final

from gunicorn.app.base import BaseApplication

from task_status_service.settings import Settings

#: each with its reason
_CONFIG: Final[dict[str, Any]] = {
    # Thousands of clients that mostly wait; slow ones do not occupy a thread.
    "worker_class": "gevent",
    "worker_connections": 2_000,
    # Not 0: it also bounds how long reading a request's headers may take (gunicorn/workers/base_async.py).
    "keepalive": 5,
    # The most that gunicorn allows, in bytes: a hundred ids in a query.
    "limit_request_line": 8_190,
    "timeout": 30,
    "graceful_timeout": 10,
    # A second gunicorn of the same user would unlink the first one's socket.
    "control_socket_disable": True,
    "errorlog": "-",
    "loglevel": "info",
}


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """Serve until a signal says stop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Take gunicorn's configuration from ours."""
        for name, value in _CONFIG.items():
            self.cfg.set(name, value)
        self.cfg.set("bind", self.settings.bind)
        self.cfg.set("workers", self.settings.workers)

    def load(self) -> Any:
        """Make the app, in each worker process."""
        # Here and not above: gevent patches the standard library in the worker, before this, and what was imported
        # earlier (ssl, sockets in Celery and redis-py) would be left unpatched.
        from task_status_service.app import create_app  # noqa: PLC0415

        return create_app(self.settings)
