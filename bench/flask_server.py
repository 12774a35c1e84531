"""Serve one app of `flask_rivals` with the gunicorn, worker class and settings of this service."""

import importlib
import sys
from typing import Any

from task_status_service.server.gunicorn import Server
from task_status_service.settings import Settings


class RivalServer(Server):
    """A gunicorn server of another app with the settings of this service."""

    def __init__(self, name: str, bind: str) -> None:
        self.name = name
        super().__init__(Settings(bind=bind))

    def load_config(self) -> None:
        """Load the settings of this service, without the start-up hook of its app."""
        super().load_config()
        self.cfg.set("post_worker_init", lambda worker: None)  # noqa: ARG005  # gunicorn checks the parameter names

    def load(self) -> Any:
        """Make the app in the worker process, after gevent has patched it."""
        return getattr(importlib.import_module("bench.flask_rivals"), self.name)()


if __name__ == "__main__":
    RivalServer(*sys.argv[1:]).run()
