"""The clock by which relative times of a request are computed: that of the store, which workers compare theirs with."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, cast

from flask import Flask, current_app

_NAME: Final = "task-status-clock"


def attach(app: Flask, now: Callable[[], datetime]) -> None:
    """Attach a clock to an app."""
    app.extensions[_NAME] = now


def now() -> datetime:
    """Return the present time by the clock of the current app; by that of this process if it has none."""
    clock = current_app.extensions.get(_NAME) if current_app else None
    return cast("Callable[[], datetime]", clock)() if clock else datetime.now(UTC)
