"""The one thing that views are handed: the tracker of the app that runs them."""

from typing import Final, cast

from flask import Flask, current_app

from task_status_service.tracker import Tracker

_NAME: Final = "task-status"


def attach(app: Flask, tracker: Tracker) -> None:
    """Hand the tracker to the views of an app."""
    app.extensions[_NAME] = tracker


def tracker() -> Tracker:
    """Give the tracker of the current app."""
    return cast("Tracker", current_app.extensions[_NAME])
