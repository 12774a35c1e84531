"""The guarantees of the worker kit when workers, messages and Redis fail, with real workers of two pools."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from support.redis_users import worker_url
from support.servers import RedisServer, running_worker, wait_until
from task_status_worker.record.codec import named, unpack
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note, Record
from task_status_worker.recorder import Recorder
from task_status_worker.redis_client import RedisRecordClient


class Guarded:
    """Access to the guarded app: its queue, its records and the file that its tasks write."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.folder = folder
        self.server = server
        self.written = folder / "written"
        self.written.touch()
        self.client: Any = server.client()
        self.recorder = Recorder(lambda: RedisRecordClient(server.url), keys=Keys(), retention=Retention())
        self.app: Any = Celery(broker=server.url, backend=server.url, set_as_current=False)
        self.sent: dict[str, list[str]] = {}

    @contextlib.contextmanager
    def working(self, pool: str) -> Iterator[None]:
        """Run a worker that consumes the queue named like its pool."""
        options = ("--pool", pool, "--queues", pool, "--concurrency", "4")
        with running_worker("acceptance.guarded_app", *options, redis_url=worker_url(self.server), folder=self.folder):
            yield

    def send(self, name: str, *args: Any, queue: str = "prefork", **options: Any) -> str:
        return str(self.app.send_task(f"guarded.{name}", (str(self.written), *args), queue=queue, **options).id)

    def cancel(self, task_id: str, *, terminate: bool = False) -> None:
        """Record a cancel without sending it to the workers."""
        self.recorder.note(Note(task_id=task_id, cancel_requested=True, terminate=terminate))

    def record(self, task_id: str) -> Record | None:
        return unpack(named(self.client.hgetall(Keys().record(task_id))))

    def wait(self, task_id: str) -> Record:
        """Wait for the end of a task; return its record."""

        def ended() -> Record | None:
            record = self.record(task_id)
            return record if record is not None and record.final else None

        record = wait_until(ended, timeout=40, what=f"task {task_id}")
        assert isinstance(record, Record)
        return record

    def state(self, task_id: str) -> str:
        """Return the state that Celery reads."""
        return str(self.app.AsyncResult(task_id).state)

    def did(self, task_id: str) -> list[str]:
        """Return the real starts and ends of a task."""
        lines = [line.split() for line in self.written.read_text().splitlines()]
        return [what for what, its_id in lines if its_id == task_id]

    def close(self) -> None:
        self.client.close()
        self.app.close()


@pytest.fixture(scope="module")
def guarded(module_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A prefork worker with tasks canceled before its start, a task that crashes, and one to terminate."""
    guarded = Guarded(module_redis, tmp_path_factory.mktemp("guarded"))
    guarded.sent = {
        "canceled": [guarded.send("sleep") for _ in range(5)],
        "scheduled": [guarded.send("sleep", countdown=1)],
        "free": [guarded.send("sleep")],
        "crashing": [guarded.send("crash")],
        "long": [guarded.send("sleep", 600)],
    }
    for task_id in guarded.sent["canceled"] + guarded.sent["scheduled"]:
        guarded.cancel(task_id)
    with guarded.working("prefork"):
        (long,) = guarded.sent["long"]
        wait_until(lambda: guarded.did(long), what="the start")
        guarded.cancel(long, terminate=True)
        yield guarded
    guarded.close()


def test_task_canceled_without_a_worker_never_runs(guarded: Guarded) -> None:
    """Tasks canceled before the worker started do not run, also scheduled ones; other tasks run."""
    (free,) = guarded.sent["free"]
    assert (guarded.wait(free).outcome, guarded.did(free)) == ("SUCCESS", ["began", "ended"])
    for task_id in guarded.sent["canceled"] + guarded.sent["scheduled"]:
        record = guarded.wait(task_id)
        assert (record.fact, record.executions, guarded.did(task_id)) == (Fact.REVOKED, 0, [])
        assert guarded.state(task_id) == "REVOKED"


def test_a_running_task_is_terminated(guarded: Guarded) -> None:
    """A heartbeat terminates a task whose cancel was only recorded, without Celery's revoke command."""
    (task_id,) = guarded.sent["long"]
    record = guarded.wait(task_id)
    assert (record.fact, record.executions) == (Fact.REVOKED, 1)
    assert (guarded.state(task_id), guarded.did(task_id)) == ("REVOKED", ["began"])


def test_a_crash_loop_ends_as_failed(guarded: Guarded) -> None:
    """A task that crashes its process fails at the delivery limit; Celery can read the exception."""
    (task_id,) = guarded.sent["crashing"]
    record = guarded.wait(task_id)
    assert (record.outcome, record.executions, guarded.did(task_id)) == ("FAILURE", 2, ["began", "began"])
    assert record.failure is not None
    assert record.failure.type == "DeliveryLimitReached"
    assert type(guarded.app.AsyncResult(task_id).result).__name__ == "DeliveryLimitReached"


def test_task_that_finishes_during_an_outage_has_succeeded(guarded: Guarded) -> None:
    """A result from an outage of Redis is stored after it, and does not become a failure."""
    task_ids = [guarded.send("sleep", 1.5) for _ in range(4)]
    wait_until(lambda: all(guarded.did(task_id) for task_id in task_ids), what="all to start")
    guarded.server.stop()
    wait_until(lambda: all(len(guarded.did(task_id)) == 2 for task_id in task_ids), what="all to end")
    guarded.server.start()
    for task_id in task_ids:
        record = guarded.wait(task_id)
        assert (record.outcome, record.executions, guarded.state(task_id)) == ("SUCCESS", 1, "SUCCESS")
        assert guarded.did(task_id) == ["began", "ended"]


def test_gevent_pool(module_redis: RedisServer, tmp_path: Path) -> None:
    """A canceled task does not start; the record of a running one names a worker instance with a heartbeat."""
    guarded = Guarded(module_redis, tmp_path)
    canceled, running = guarded.send("sleep", queue="gevent"), guarded.send("sleep", 0.5, queue="gevent")
    guarded.cancel(canceled)
    with guarded.working("gevent"):
        assert guarded.wait(canceled).fact is Fact.REVOKED
        record = guarded.wait(running)
        assert record.instance is not None
        assert record.instance.startswith("acceptance.guarded_app@test/")
        assert guarded.client.zscore(Keys().workers, record.instance)
    assert (guarded.did(canceled), guarded.did(running)) == ([], ["began", "ended"])
    guarded.close()
