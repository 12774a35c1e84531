"""The API over fakes: requests in, answers out, nothing started."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from documented import DocumentedClient
from fakes import MemoryBroker, MemoryFeed, MemoryStore
from flask import Flask
from flask.testing import FlaskClient
from task_status_service.app import create_api
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker

ADD = {
    "name": "demo.add",
    "doc": "Add two numbers.",
    "queue": "sums",
    "arguments": {
        "type": "object",
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
        "required": ["x", "y"],
        "additionalProperties": False,
    },
    "positional": ["x", "y"],
    "var_positional": False,
}


@pytest.fixture(autouse=True)
def _documented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold every answer of every test to the OpenAPI document."""
    monkeypatch.setattr(Flask, "test_client_class", DocumentedClient)


@pytest.fixture
def store() -> MemoryStore:
    """Give a store in which a worker has announced `demo.add`, and one of Celery's own tasks."""
    store = MemoryStore()
    announce(store)
    store.worker_seen = 1.0
    return store


def announce(store: MemoryStore) -> None:
    """Let a worker announce its task types now, by the store's clock."""
    announced_at = store.time.timestamp()
    for announcement in (ADD, {"name": "celery.backend_cleanup"}):
        name = str(announcement["name"])
        store.announced[name.encode()] = json.dumps({**announcement, "announced_at": announced_at}).encode()


@pytest.fixture
def at_present(store: MemoryStore) -> None:
    """Set the store's clock: tasks are as young as they look."""
    store.time = datetime.now(UTC).replace(microsecond=0)
    announce(store)


@pytest.fixture
def broker() -> MemoryBroker:
    """Give a broker that remembers."""
    return MemoryBroker()


@pytest.fixture
def tracker(store: MemoryStore, broker: MemoryBroker) -> Tracker:
    """Give a tracker over the fakes."""
    return Tracker(store, broker, final_states={})


@pytest.fixture
def submitter(tracker: Tracker, store: MemoryStore, broker: MemoryBroker) -> Submitter:
    """Give a submitter over the fakes."""
    catalog = Catalog(store.announcements, read_serving=store.serving)
    return Submitter(tracker, store, broker, catalog, default_queue="celery")


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
