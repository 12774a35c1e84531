"""The start check: a denied task does not start, in the main process and in the one that executes it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Task, signals
from celery.app.trace import trace_task
from support.servers import free_port, wait_until
from task_status_worker import install, report
from task_status_worker.record.model import Fact, Note

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS

#: lets a running task continue
go_on = threading.Event()


class Gated:
    """An app whose tasks record in Redis that they were executed."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.before_start_of: list[str] = []
        gated = self

        class Custom(Task):
            """A task class of a user."""

            def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
                gated.before_start_of.append(task_id)

        @bench.app.task(shared=False, bind=True, base=Custom)
        def work(self: Any) -> str:
            gated.did(self.request.id)
            return "done"

        @bench.app.task(shared=False, bind=True)
        def blocked(self: Any) -> str:
            gated.did(self.request.id)
            report(1, 3)
            assert go_on.wait(20)
            return "done"

        @bench.app.task(shared=False, bind=True, acks_late=True)
        def flaky(self: Any) -> None:
            gated.did(self.request.id)
            raise self.retry(countdown=0.5, exc=OSError("not yet"))

        self.work, self.blocked, self.flaky = work, blocked, flaky

    def did(self, task_id: str) -> None:
        self.bench.client.rpush("ran", task_id)

    @property
    def ran(self) -> list[str]:
        return [task_id.decode() for task_id in self.bench.client.lrange("ran", 0, -1)]

    def is_at_rest(self) -> bool:
        """Return whether every message is acknowledged."""
        return not self.bench.client.exists("celery", "unacked")

    def note(self, task_id: str, fact: Fact | None = None, **fields: Any) -> None:
        self.bench.recorder.note(Note(task_id=task_id, fact=fact, **fields))

    def run_in_child(self, task_id: str, *, redelivered: bool = False, **request: Any) -> None:
        """Execute `work` as a process of the pool does, without the check of the main process."""
        task = self.bench.app.tasks[self.work.name]
        info = {"redelivered": redelivered, "routing_key": "celery"}
        headers = {"id": task_id, "task": task.name, "delivery_info": info, "hostname": "w@h", "is_eager": False}
        trace_task(task, task_id, (), {}, {**headers, **request}, app=self.bench.app)


@pytest.fixture
def gated(bench: Bench) -> Iterator[Gated]:
    """Return an app with tasks and no worker."""
    bench.install()
    gated = Gated(bench)
    bench.app.finalize()
    go_on.clear()
    yield gated
    go_on.set()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_task_that_ended_before_the_worker_started_is_not_executed(gated: Gated, pool: str) -> None:
    """A canceled or ended task is acknowledged and not executed, also a scheduled one; all others are."""
    bench, work = gated.bench, gated.work
    revoked: list[str] = []

    def on_revoked(request: Any, **_: Any) -> None:
        revoked.append(request.id)

    canceled, waiting = work.delay().id, work.apply_async(countdown=1).id
    ended, ended_and_expired = work.delay().id, work.apply_async(expires=-1).id
    free = work.delay().id
    for task_id in (canceled, waiting):
        bench.cancel(task_id)
    for task_id in (ended, ended_and_expired):
        gated.note(task_id, Fact.FINISHED, outcome="FAILURE")
        bench.app.backend.mark_as_failure(task_id, ValueError("as it was"))
    before = [bench.meta(task_id) for task_id in (ended, ended_and_expired)]

    signals.task_revoked.connect(on_revoked, weak=False)
    with bench.working(pool):
        records = [bench.wait(task_id) for task_id in (canceled, waiting, free)]
        wait_until(gated.is_at_rest, what="every message to be acknowledged")
    signals.task_revoked.disconnect(on_revoked)

    assert gated.ran == [free]
    assert [(record.fact, record.executions) for record in records] == [
        (Fact.REVOKED, 0),
        (Fact.REVOKED, 0),
        (Fact.FINISHED, 1),
    ]
    assert [bench.meta(task_id)["status"] for task_id in (canceled, waiting)] == ["REVOKED", "REVOKED"]
    assert revoked == [canceled, waiting]
    assert [bench.meta(task_id) for task_id in (ended, ended_and_expired)] == before
    record = bench.record(ended)
    assert record is not None
    assert (record.outcome, record.executions) == ("FAILURE", 0)


def test_a_cancel_between_two_attempts(gated: Gated) -> None:
    """A cancel between two attempts prevents the next one."""
    with gated.bench.working():
        task_id = gated.flaky.delay().id
        gated.bench.wait(task_id, lambda record: record.fact is Fact.RETRYING)
        gated.bench.cancel(task_id)
        record = gated.bench.wait(task_id)
    assert (record.fact, record.executions, gated.ran) == (Fact.REVOKED, 1, [task_id])


def test_a_message_that_was_sent_twice_runs_once(gated: Gated) -> None:
    """A message that was sent twice is executed once, whether the second one comes early or late."""
    with gated.bench.working("threads", concurrency=2):
        for _ in range(2):
            gated.blocked.apply_async(task_id="twice")
        gated.bench.wait("twice", lambda record: record.progress is not None)
        gated.work.apply_async(task_id="between")
        gated.bench.wait("between")
        wait_until(gated.is_at_rest, what="the duplicate to be acknowledged")
        assert gated.bench.meta("twice")["status"] == "PROGRESS", "the copy stores nothing"
        go_on.set()
        record = gated.bench.wait("twice")
        gated.blocked.apply_async(task_id="twice")
        gated.work.apply_async(task_id="after")
        gated.bench.wait("after")
        wait_until(gated.is_at_rest, what="the duplicate to be acknowledged")

    assert (record.outcome, record.executions, record.late) == ("SUCCESS", 1, 0)
    assert gated.ran == ["twice", "between", "after"]
    assert gated.bench.meta("twice")["result"] == "done"


def test_without_redis_everything_runs(bench: Bench) -> None:
    """Without Redis every task starts, because executing a canceled task is better than losing one."""
    install(bench.app, record_url=f"redis://127.0.0.1:{free_port()}/0")
    gated = Gated(bench)
    with bench.working():
        result = gated.work.delay()
        assert result.get(timeout=20, disable_sync_subtasks=False) == "done"
    assert bench.recorder.buffered == 3, "every fact is buffered"


# The second check, in the executing process, for facts recorded after the check of the main process.


def test_a_run_that_may_start(gated: Gated) -> None:
    """An allowed start calls the author's `before_start`, and the record has the worker instance."""
    gated.run_in_child("t")
    record = gated.bench.wait("t")
    assert (record.outcome, gated.ran, gated.before_start_of) == ("SUCCESS", ["t"], ["t"])


def test_a_cancel_at_the_last_moment(gated: Gated) -> None:
    """A cancel just before the start ends the task as canceled, readable by all, without a start."""
    gated.bench.cancel("t")
    gated.run_in_child("t")
    record = gated.bench.wait("t")
    assert (record.fact, record.executions) == (Fact.REVOKED, 0)
    assert gated.bench.meta("t")["status"] == "REVOKED"
    assert (gated.ran, gated.before_start_of) == ([], [])


def ended(gated: Gated) -> None:
    """Record the task as failed."""
    gated.note("t", Fact.FINISHED, run="1", outcome="FAILURE")


def started(gated: Gated) -> None:
    """Record a start by another execution."""
    gated.note("t", Fact.STARTED, run="1")


def retrying(gated: Gated) -> None:
    """Record that the next attempt is due."""
    gated.note("t", Fact.STARTED, run="1")
    gated.note("t", Fact.RETRYING, run="1")


@pytest.mark.parametrize(
    ("before", "redelivered", "late"), [(ended, False, 1), (ended, True, 1), (started, False, 0), (retrying, True, 0)]
)
def test_a_duplicate_delivery_does_nothing(
    gated: Gated, before: Callable[[Gated], None], redelivered: bool, late: int
) -> None:
    """A duplicate delivery executes, stores and records nothing, except the count of late facts."""
    before(gated)
    gated.bench.app.backend.store_result("t", ValueError("as it was"), "FAILURE")
    stored, record = gated.bench.meta("t"), gated.bench.record("t")
    gated.run_in_child("t", redelivered=redelivered)

    after = gated.bench.record("t")
    assert record is not None
    assert after is not None
    assert (after.fact, after.executions, after.late) == (record.fact, record.executions, late)
    assert (gated.bench.meta("t"), gated.ran, gated.before_start_of) == (stored, [], [])


def test_a_message_that_is_delivered_again_runs_again(gated: Gated) -> None:
    """A redelivered message is executed again up to the delivery limit; then the task has failed."""
    for n in range(5):
        gated.note("t", Fact.STARTED, run=str(n))
    gated.run_in_child("t", redelivered=True)

    record = gated.bench.wait("t")
    assert (record.outcome, record.executions, gated.ran) == ("FAILURE", 5, [])
    assert record.failure is not None
    assert (record.failure.type, record.failure.module) == ("DeliveryLimitReached", "task_status_worker.start_check")
    result = gated.bench.app.AsyncResult("t")
    assert (result.state, type(result.result).__name__) == ("FAILURE", "DeliveryLimitReached")

    gated.note("again", Fact.STARTED, run="1")
    gated.run_in_child("again", redelivered=True)
    record = gated.bench.wait("again")
    assert (record.outcome, record.executions, record.starts, gated.ran) == ("SUCCESS", 2, 2, ["again"])


def test_the_delivery_limit_is_the_users_choice(bench: Bench) -> None:
    """A delivery limit of 0 means unlimited."""
    install(bench.app, delivery_limit=0)
    gated = Gated(bench)
    bench.app.finalize()
    for n in range(20):
        gated.note("t", Fact.STARTED, run=str(n))
    gated.run_in_child("t", redelivered=True)
    assert bench.wait("t").outcome == "SUCCESS"


def test_a_worker_is_seen_while_its_only_thread_is_busy(gated: Gated) -> None:
    """A task that blocks the solo pool does not stop the heartbeat of the recorded instance."""
    with gated.bench.working("solo") as worker:
        task_id = gated.blocked.delay().id
        record = gated.bench.wait(task_id, lambda record: record.fact is Fact.STARTED)
        # Celery's worker for tests does not send worker_ready.
        signals.worker_ready.send(sender=worker.consumer)
        wait_until(lambda: gated.bench.client.zscore(gated.bench.keys.workers, record.instance), what="a heartbeat")
        go_on.set()
        gated.bench.wait(task_id)
