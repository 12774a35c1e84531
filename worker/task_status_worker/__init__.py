"""The worker kit: `install(app)` for a Celery app, and functions for the authors of its tasks.

The service imports `task_status_worker.record` through this package, so this module must not import Celery or Redis.
It imports the names below on first use.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from task_status_worker.failure import TaskFailed, fail, finish
    from task_status_worker.installation import install
    from task_status_worker.progress import TaskCanceled, report

__all__ = ["TaskCanceled", "TaskFailed", "fail", "finish", "install", "report"]

_MODULES: Final = {
    "TaskCanceled": "progress",
    "TaskFailed": "failure",
    "fail": "failure",
    "finish": "failure",
    "install": "installation",
    "report": "progress",
}


def __getattr__(name: str) -> Any:
    """Import a public name at its first use and cache it (PEP 562)."""
    if name == "__version__":
        return importlib.metadata.version("task-status-worker")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value
