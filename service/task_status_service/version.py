"""The version of this service."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("task-status-service")
