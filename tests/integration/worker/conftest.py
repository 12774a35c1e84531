"""Celery apps with the kit, each with its own worker in a thread."""

import contextlib
import gc
import itertools
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import kombu.pools
import msgspec
import pytest
import redis
from celery import Celery
from celery.contrib.testing.worker import start_worker
from support.servers import wait_until
from task_status_worker import install
from task_status_worker.record.codec import named, unpack
from task_status_worker.record.keys import Keys
from task_status_worker.record.model import Note, Record
from task_status_worker.registry import kit_of

#: warnings from Celery: it uses deprecated calls of redis-py and does not close its sockets
CELERYS_OWN_WARNINGS = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket.socket"),
]

_names = itertools.count()


class Bench:
    """One app with the kit on one empty Redis, and access to its records."""

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.client: Any = client
        self.keys = Keys()
        self.app: Any = Celery(f"bench-{next(_names)}", broker=url, backend=url, set_as_current=False)
        self.app.conf.update(broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)

    def close(self) -> None:
        """Close sockets that Celery leaves to the garbage collector, which could run in another test."""
        self.app.close()
        kombu.pools.reset()
        if hasattr(self.app.backend, "client"):
            self.app.backend.result_consumer.stop()
            self.app.backend.client.connection_pool.disconnect()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.app = None
            gc.collect()

    def install(self) -> None:
        install(self.app)

    @contextlib.contextmanager
    def working(self, pool: str = "solo", *, concurrency: int = 1) -> Iterator[Any]:
        """Run a worker in this process and yield it."""
        root = logging.getLogger()
        level, handlers = root.level, list(root.handlers)
        try:
            with start_worker(
                self.app, pool=pool, concurrency=concurrency, perform_ping_check=False, shutdown_timeout=30
            ) as worker:
                yield worker
        finally:
            # A worker changes the logging of the process.
            root.setLevel(level)
            root.handlers[:] = handlers

    def record(self, task_id: str) -> Record | None:
        return unpack(named(self.client.hgetall(self.keys.record(task_id))))

    def meta(self, task_id: str) -> Any:
        stored = self.client.get(self.keys.meta(task_id))
        return None if stored is None else msgspec.json.decode(stored)

    def wait(self, task_id: str, holds: Callable[[Record], object] = lambda record: record.final) -> Record:
        """Wait until a condition holds for the record; by default until the task has ended."""

        def look() -> Record | None:
            record = self.record(task_id)
            return record if record is not None and holds(record) else None

        record = wait_until(look, what=f"task {task_id}")
        assert isinstance(record, Record)
        return record

    def cancel(self, task_id: str, *, terminate: bool = False) -> None:
        """Record a cancel, as the service does."""
        self.recorder.note(Note(task_id=task_id, cancel_requested=True, terminate=terminate))

    def run(self, task: Any, *args: Any, **options: Any) -> tuple[str, Record]:
        """Send a task; return its id and its record after its end."""
        task_id = task.apply_async(args, **options).id
        return task_id, self.wait(task_id)

    @property
    def recorder(self) -> Any:
        kit = kit_of(self.app)
        assert kit is not None
        return kit.recorder


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    """An app without the kit, on an empty Redis."""
    with redis.Redis.from_url(redis_url) as client:
        bench = Bench(redis_url, client)
        yield bench
        bench.close()
