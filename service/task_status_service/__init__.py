"""The REST service: submit Celery tasks and read one normalized status of each."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Return the installed version as `__version__`, read at its first use (PEP 562)."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - importing this package stays quick

    return version("task-status-service")
