"""The API over fakes: requests in, answers out, nothing started."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.documented import DocumentedClient
from support.fakes import MemoryFeed
from support.use_cases import at_present, broker, store, submitter, tracker
from task_status_service.app import create_api
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer of every test to the OpenAPI document."""
    monkeypatch.setattr(Flask, "test_client_class", DocumentedClient)


@pytest.fixture
def feed() -> MemoryFeed:
    """Give a feed with a script."""
    return MemoryFeed()


@pytest.fixture
def client(tracker: Tracker, submitter: Submitter, feed: MemoryFeed) -> FlaskClient:
    """Give an HTTP client of the app."""
    return create_api(tracker, submitter, feed).test_client()


@pytest.fixture
def submit(client: FlaskClient) -> Callable[..., Any]:
    """Give a function that posts a submission."""
    return lambda **body: client.post("/tasks", json=body)
