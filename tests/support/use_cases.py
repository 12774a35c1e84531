"""Fixtures: the use cases over fakes, with one announced task type."""

import json
from datetime import UTC, datetime

import pytest
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker

from support.fakes import MemoryBroker, MemoryStore

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
