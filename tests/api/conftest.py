"""Fixtures: the API over fakes, without a server, Redis or a worker."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from support.documented import DocumentedClient
from support.fakes import MemoryFeed
from support.use_cases import at_present, broker, catalog, create_api, readiness, store, submitter, tracker
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.readiness import Readiness
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare every response of every test with the OpenAPI document."""
    monkeypatch.setattr(Flask, "test_client_class", DocumentedClient)


@pytest.fixture
def feed() -> MemoryFeed:
    """A feed that tests script."""
    return MemoryFeed()


@pytest.fixture
def client(
    tracker: Tracker, submitter: Submitter, feed: MemoryFeed, catalog: Catalog, readiness: Readiness
) -> FlaskClient:
    """An HTTP client of the app."""
    return create_api(tracker, submitter, feed, catalog=catalog, readiness=readiness).test_client()


@pytest.fixture
def submit(client: FlaskClient) -> Callable[..., Any]:
    """A function that posts a submission."""
    return lambda **body: client.post("/tasks", json=body)
