"""Fixtures: the use cases over fakes, with one announced task type."""

import json
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from flask import Flask
from task_status_service import app
from task_status_service.api.auth.authentication import Access
from task_status_service.api.context import UseCases
from task_status_service.settings import Settings
from task_status_service.status import FinalStates, Visibility
from task_status_service.status.cache import StatusCache
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.lost_workers import LostTasks
from task_status_service.use_cases.readiness import Readiness, VolatileStore
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker
from task_status_service.use_cases.watcher import Watcher

from support.fakes import MemoryBroker, MemoryFeed, MemoryStore

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
    """A store in which a worker has announced `demo.add`, and one of Celery's own tasks."""
    store = MemoryStore()
    announce(store)
    store.worker_seen = 1.0
    return store


def announce(store: MemoryStore) -> None:
    """Announce the task types now, by the store's clock."""
    announced_at = store.time.timestamp()
    for announcement in (ADD, {"name": "celery.backend_cleanup"}):
        name = str(announcement["name"])
        store.announced[name.encode()] = json.dumps({**announcement, "announced_at": announced_at}).encode()


@pytest.fixture
def at_present(store: MemoryStore) -> None:
    """The present time on the store's clock, so that new tasks have an age of 0."""
    store.time = datetime.now(UTC).replace(microsecond=0)
    announce(store)


@pytest.fixture
def broker() -> MemoryBroker:
    """A broker that keeps the sent messages."""
    return MemoryBroker()


def create_readiness(
    store: MemoryStore, broker: MemoryBroker, *, volatile_store: VolatileStore = VolatileStore.WARN
) -> Readiness:
    """Build readiness checks over fakes, each of which is new."""
    return Readiness(store, broker, volatile_store=volatile_store, check_seconds=0.0)


def create_tracker(
    store: MemoryStore,
    broker: MemoryBroker,
    *,
    final_states: FinalStates = MappingProxyType({}),
    lost_final_seconds: float | None = None,
    tracebacks: bool = True,
) -> Tracker:
    """Build a tracker over fakes."""
    public = StatusCache(final_states, Visibility.PUBLIC)
    return Tracker(
        store,
        broker,
        LostTasks(store, after_seconds=lost_final_seconds, final_states=final_states),
        public=public,
        operator=StatusCache(final_states, Visibility.OPERATOR) if tracebacks else public,
        final_states=final_states,
    )


def create_api(
    tracker: Tracker,
    submitter: Submitter,
    feed: MemoryFeed,
    *,
    catalog: Catalog | None = None,
    readiness: Readiness | None = None,
    access: Access | None = None,
    **options: Any,
) -> Flask:
    """Build the app over use cases; the default catalog and readiness checks are those of an empty store."""
    use_cases = UseCases(
        tracker=tracker,
        submitter=submitter,
        watcher=Watcher(tracker, feed),
        catalog=catalog or Catalog(MemoryStore()),
        readiness=readiness or create_readiness(MemoryStore(), MemoryBroker()),
    )
    options = {"max_body_bytes": Settings().max_body_bytes, **options}
    return app.create_api(use_cases, access=access or Access(origins=options.get("cors_origins", ())), **options)


@pytest.fixture
def tracker(store: MemoryStore, broker: MemoryBroker) -> Tracker:
    """A tracker over the fakes."""
    return create_tracker(store, broker)


@pytest.fixture
def catalog(store: MemoryStore) -> Catalog:
    """Return a catalog of the task types that are announced in the store."""
    return Catalog(store, queues=("celery", "slow"))


@pytest.fixture
def readiness(store: MemoryStore, broker: MemoryBroker) -> Readiness:
    """Readiness checks of the fakes."""
    return create_readiness(store, broker)


@pytest.fixture
def submitter(tracker: Tracker, store: MemoryStore, broker: MemoryBroker, catalog: Catalog) -> Submitter:
    """A submitter over the fakes."""
    return Submitter(tracker, store, broker, catalog, default_queue="celery")
