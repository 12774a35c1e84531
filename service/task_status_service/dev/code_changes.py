"""Changes of the code of the service and the worker kit, for `task-status dev --reload`."""

import importlib.util
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from task_status_service.errors import ReloadMissing

_PACKAGES: Final = ("task_status_service", "task_status_worker")


def code_changes() -> AsyncIterator[Path]:
    """Yield one changed file for each burst of changes in the two packages.

    Raises:
        ReloadMissing: watchfiles is not installed.
    """
    try:
        from watchfiles import PythonFilter, awatch  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ReloadMissing from error
    folders = [folder for name in _PACKAGES for folder in _folders(name)]
    batches = awatch(*folders, watch_filter=PythonFilter(extra_extensions=(".lua", ".json")))
    return (Path(min(path for _, path in batch)) async for batch in batches)


def _folders(package: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec is not None else []
