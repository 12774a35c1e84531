"""Serve one app of `flask_rivals` as this service is served: the same gunicorn, worker class and settings."""

import importlib
import sys
from typing import Any

from task_status_service.server.gunicorn import Server
from task_status_service.settings import Settings


class RivalServer(Server):
    """Serve another app with our settings."""

    def __init__(self, name: str, bind: str) -> None:
        self.name = name
        super().__init__(Settings(bind=bind))

    def load_config(self) -> None:
        """Take our settings, without what only our app has to do when it begins."""
        super().load_config()
        self.cfg.set("post_worker_init", lambda worker: None)  # noqa: ARG005  # gunicorn looks at the names

    def load(self) -> Any:
        """Make the app in the worker process, after gevent has patched it."""
        return getattr(importlib.import_module("bench.flask_rivals"), self.name)()


if __name__ == "__main__":
    RivalServer(*sys.argv[1:]).run()
