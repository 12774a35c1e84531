"""The use cases of the current app, for its views."""

from typing import Final, cast

import msgspec
from flask import Flask, current_app

from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.readiness import Readiness
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker
from task_status_service.use_cases.watcher import Watcher

_NAME: Final = "task-status"


class UseCases(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases that the views call."""

    tracker: Tracker
    submitter: Submitter
    watcher: Watcher
    #: the task types that may be submitted
    catalog: Catalog
    readiness: Readiness


def attach(app: Flask, use_cases: UseCases) -> None:
    """Attach the use cases to an app, for its views."""
    app.extensions[_NAME] = use_cases


def tracker() -> Tracker:
    """Return the tracker of the current app."""
    return _current().tracker


def submitter() -> Submitter:
    """Return the submitter of the current app."""
    return _current().submitter


def watcher() -> Watcher:
    """Return the watcher of the current app."""
    return _current().watcher


def catalog() -> Catalog:
    """Return the catalog of task types of the current app."""
    return _current().catalog


def readiness() -> Readiness:
    """Return the readiness checks of the current app."""
    return _current().readiness


def _current() -> UseCases:
    return cast("UseCases", current_app.extensions[_NAME])
