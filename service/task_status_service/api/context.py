"""What views are handed: the use cases of the app that runs them."""

from typing import Final, cast

import msgspec
from flask import Flask, current_app

from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker
from task_status_service.use_cases.watcher import Watcher

_NAME: Final = "task-status"


class _UseCases(msgspec.Struct, frozen=True):
    tracker: Tracker
    submitter: Submitter
    watcher: Watcher


def attach(app: Flask, tracker: Tracker, submitter: Submitter, watcher: Watcher) -> None:
    """Hand the use cases to the views of an app."""
    app.extensions[_NAME] = _UseCases(tracker, submitter, watcher)


def tracker() -> Tracker:
    """Give the tracker of the current app."""
    return cast("_UseCases", current_app.extensions[_NAME]).tracker


def submitter() -> Submitter:
    """Give the submitter of the current app."""
    return cast("_UseCases", current_app.extensions[_NAME]).submitter


def catalog() -> Catalog:
    """Give the catalog of what may be submitted to the current app."""
    return submitter().catalog


def watcher() -> Watcher:
    """Give the watcher of the current app."""
    return cast("_UseCases", current_app.extensions[_NAME]).watcher
