"""The recorded facts of each way in which a task can end, in pools within the worker's own process."""

import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from celery import Celery, Task, group, signals
from celery.app.task import Context
from celery.exceptions import Ignore, Reject, TimeLimitExceeded, WorkerLostError
from celery.worker.request import Request
from support.servers import RedisServer
from task_status_worker import fail, finish, report
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Fact
from task_status_worker.request import StatusRequest

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS

#: lets a running task continue
go_on = threading.Event()


class BadText(Exception):
    """An exception that pickle cannot rebuild."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code)
        self.text = text


def declare(app: Any) -> dict[str, Any]:  # noqa: C901, PLR0915  # a list of small tasks
    """Declare one task for each way in which a task can end."""

    def task(**options: Any) -> Any:
        return app.task(shared=False, **options)

    @task()
    def add(x: int, y: int) -> int:
        return x + y

    @task()
    def unpicklable() -> None:
        raise BadText(1, "x")

    @task(autoretry_for=(Exception,), max_retries=3)
    def failing() -> None:
        fail("no stock", code="stock", details={"left": 0}, exc_type="NoStock")

    @task()
    def finishing() -> None:
        finish("PARTIAL", {"rows": 3})

    @task(bind=True)
    def raw_failure(self: Task) -> None:
        self.update_state(state="PROGRESS", meta={"done": 1})
        self.update_state(state="FAILURE", meta={"custom": "disk full"})
        self.update_state(task_id="another", state="CUSTOM", meta=None)
        raise Ignore

    @task(bind=True)
    def poisoned(self: Task, raises: bool) -> int:
        key = self.backend.get_key_for_task(self.request.id)
        self.backend.client.set(key, b'{"status": "FAILURE", "result": {"custom": 1}}')
        if raises:
            raise ValueError("the real one")
        return 42

    @task(bind=True)
    def progressing(self: Task) -> None:
        meta = {"done": 1}
        self.update_state(state="PROGRESS", meta=meta)
        meta["done"] = 2

    @task()
    def ignoring() -> None:
        raise Ignore

    @task(acks_late=True)
    def rejecting() -> None:
        raise Reject("no good", requeue=False)

    @task(bind=True, acks_late=True)
    def requeuing(self: Task) -> str:
        if not self.request.delivery_info.get("redelivered"):
            raise Reject("not now", requeue=True)
        return "now"

    @task()
    def requeuing_too_late() -> None:
        raise Reject("not now", requeue=True)

    @task(bind=True, max_retries=1)
    def retrying(self: Task, countdown: float, gives_exception: bool) -> str:
        if self.request.retries:
            return "second"
        report(1, 2)
        try:
            float("first")
        except ValueError as error:
            raise self.retry(countdown=countdown, exc=error if gives_exception else None) from None

    @task(bind=True, max_retries=1)
    def retrying_at(self: Task, eta: str) -> None:
        if not self.request.retries:
            raise self.retry(eta=datetime.fromisoformat(eta))

    @task(bind=True)
    def replacing(self: Task) -> Any:
        return self.replace(add.s(20, 22))

    @task(bind=True)
    def replacing_by_chain(self: Task) -> Any:
        return self.replace(add.s(1, 1) | add.s(2))

    @task(bind=True)
    def replacing_by_group(self: Task) -> Any:
        return self.replace(group(add.s(1, 1), add.s(2, 2)))

    @task()
    def checkpointed() -> None:
        report(0, 10, message="begun")
        assert go_on.wait(20)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            report(1, 10)

    @task()
    def chatty() -> None:
        for done in range(1_000):
            report(done)

    @task()
    def unserializable() -> object:
        return object()

    @task(ignore_result=True)
    def unread(raises: bool) -> int:
        if raises:
            raise ValueError("unread")
        return 1

    return {name: value for name, value in locals().items() if isinstance(value, Task)}


class Running(NamedTuple):
    """A bench with a worker, and its tasks by name."""

    bench: Bench
    tasks: dict[str, Any]

    def run(self, name: str, *args: Any, **options: Any) -> tuple[str, Any]:
        return self.bench.run(self.tasks[name], *args, **options)


@pytest.fixture(scope="module", params=["solo", "threads"])
def running(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Running]:
    """Run one worker for all tests of this module, for each pool."""
    with redis_server.client() as client:
        client.flushall()
        bench = Bench(redis_server.url, client)
        bench.install()
        tasks = declare(bench.app)
        with bench.working(request.param):
            yield Running(bench, tasks)
        bench.close()


def test_success(running: Running) -> None:
    """A task that returns has a complete record."""
    expires = datetime.now(UTC) + timedelta(hours=1)
    _, record = running.run("add", 1, 2, expires=expires)
    assert (record.fact, record.outcome, record.executions, record.seq) == (Fact.FINISHED, "SUCCESS", 1, 3)
    assert (record.queue, record.is_root, record.parent_id, record.result_stored) == ("celery", True, None, True)
    assert record.name == running.tasks["add"].name
    assert record.worker
    assert abs(record.expires_at - expires) < timedelta(seconds=1)
    assert record.received_at <= record.started_at <= record.finished_at


def test_an_exception(running: Running) -> None:
    """A failure keeps the name of its exception, which Celery loses if pickle cannot rebuild it."""
    task_id, record = running.run("unpicklable")
    assert (record.outcome, record.failure.type, record.failure.module) == ("FAILURE", "BadText", BadText.__module__)
    assert "BadText: 1" in record.failure.traceback
    assert running.bench.meta(task_id)["result"]["exc_type"] == "UnpickleableExceptionWrapper"


def test_fail(running: Running) -> None:
    """`fail` is final at once, also if every exception is retried, and each reader can read it."""
    task_id, record = running.run("failing")
    assert (record.outcome, record.attempt, record.executions) == ("FAILURE", 0, 1)
    assert (record.failure.type, record.failure.message) == ("NoStock", "no stock")
    assert record.failure.details == {"code": "stock", "details": {"left": 0}}
    stored = running.bench.meta(task_id)["result"]
    assert stored["code"] == "stock"
    assert str(running.bench.app.AsyncResult(task_id).result) == "no stock"


def test_finish(running: Running) -> None:
    """`finish` ends a task in its own state."""
    task_id, record = running.run("finishing")
    assert (record.fact, record.outcome, record.progress) == (Fact.IGNORED, "PARTIAL", {"rows": 3})
    assert running.bench.meta(task_id)["status"] == "PARTIAL"


def test_a_raw_failure(running: Running) -> None:
    """A FAILURE stored by hand before Ignore is readable, with its custom key and the last progress."""
    task_id, record = running.run("raw_failure")
    assert (record.fact, record.outcome, record.progress) == (Fact.IGNORED, "FAILURE", {"done": 1})
    assert (record.failure.message, record.failure.details) == ("disk full", {"custom": "disk full"})
    assert str(running.bench.app.AsyncResult(task_id).result) == "disk full"


@pytest.mark.parametrize(("raises", "outcome"), [(False, "SUCCESS"), (True, "FAILURE")])
def test_a_poisoned_key(running: Running, raises: bool, outcome: str) -> None:
    """An unreadable meta written past the kit does not hide the real end of the task."""
    task_id, record = running.run("poisoned", raises)
    meta = running.bench.meta(task_id)
    assert (record.fact, record.outcome, meta["status"]) == (Fact.FINISHED, outcome, outcome)
    assert meta["result"] == 42 or meta["result"]["exc_message"] == ["the real one"]


def test_progress_outlives_the_end(running: Running) -> None:
    """A custom meta is recorded as it was stored, whatever the task does to the dict later."""
    _, record = running.run("progressing")
    assert (record.outcome, record.progress) == ("SUCCESS", {"done": 1})


def test_ignore(running: Running) -> None:
    """A task that raises Ignore has ended without an outcome."""
    _, record = running.run("ignoring")
    assert (record.fact, record.outcome, record.failure) == (Fact.IGNORED, None, None)


def test_reject(running: Running) -> None:
    """A rejected task is final."""
    _, record = running.run("rejecting")
    assert (record.fact, record.failure.type, record.failure.message) == (Fact.REJECTED, "Reject", "no good")
    assert record.late == 0


def test_reject_with_requeue(running: Running) -> None:
    """A task that is rejected with requeue runs again."""
    _, record = running.run("requeuing")
    assert (record.fact, record.outcome, record.requeues, record.executions) == (Fact.FINISHED, "SUCCESS", 1, 2)


def test_requeue_of_an_acknowledged_message(running: Running) -> None:
    """A requeue after an early acknowledgement is final: Celery ignores it, and the message is gone."""
    _, record = running.run("requeuing_too_late")
    assert record.fact is Fact.REJECTED


@pytest.mark.parametrize("gives_exception", [True, False])
def test_retry(running: Running, gives_exception: bool) -> None:
    """Between two attempts the record has the cause and the time of the next one, also without `exc=`."""
    task_id = running.tasks["retrying"].delay(1.0, gives_exception).id
    record = running.bench.wait(task_id, lambda record: record.fact is Fact.RETRYING)
    assert record.failure is not None
    assert (record.failure.type, record.failure.message) == (
        "ValueError",
        "could not convert string to float: 'first'",
    )
    assert record.next_retry_at is not None
    assert timedelta(0) < record.next_retry_at - datetime.now(UTC) < timedelta(seconds=1.1)
    assert record.progress == {"current": 1, "total": 2}

    record = running.bench.wait(task_id)
    assert (record.outcome, record.attempt, record.executions, record.failure) == ("SUCCESS", 1, 2, None)
    assert (record.scheduled_for, record.parent_id) == (None, None), "those of the retry, not of the task"


def test_retry_at_a_time(running: Running) -> None:
    """The time of the next attempt may be a datetime."""
    eta = datetime.now(UTC) + timedelta(seconds=0.5)
    task_id = running.tasks["retrying_at"].delay(eta.isoformat()).id
    record = running.bench.wait(task_id, lambda record: record.fact is Fact.RETRYING)
    assert record.next_retry_at is not None
    assert abs(record.next_retry_at - eta) < timedelta(milliseconds=2)
    assert running.bench.wait(task_id).outcome == "SUCCESS"


@pytest.mark.parametrize("name", ["replacing", "replacing_by_chain", "replacing_by_group"])
def test_replace(running: Running, name: str) -> None:
    """The end of the replacement is the end of the task."""
    task_id, record = running.run(name)
    assert (record.generation, record.requeues, record.executions, record.outcome) == (1, 1, 2, "SUCCESS")
    assert running.bench.meta(task_id)["status"] == "SUCCESS"


def test_cancel_at_a_checkpoint(running: Running) -> None:
    """The next report of a canceled task ends it; its end is readable and is not overwritten."""
    go_on.clear()
    task_id = running.tasks["checkpointed"].delay().id
    running.bench.wait(task_id, lambda record: record.progress is not None)
    running.bench.cancel(task_id)
    go_on.set()

    record = running.bench.wait(task_id)
    assert (record.fact, record.outcome) == (Fact.REVOKED, "REVOKED")
    result = running.bench.app.AsyncResult(task_id)
    assert (result.state, str(result.result)) == ("REVOKED", "canceled")


def test_reports_are_throttled(running: Running) -> None:
    """A thousand reports are only a few writes, and the last value is recorded."""
    _, record = running.run("chatty")
    assert record.progress == {"current": 999}
    assert record.seq < 20


def test_a_result_that_cannot_be_stored_is_a_failure(running: Running) -> None:
    """A result that cannot be stored is recorded as a failure, as Celery stores it."""
    _, record = running.run("unserializable")
    assert (record.outcome, record.failure.type) == ("FAILURE", "EncodeError")


@pytest.mark.parametrize(("raises", "outcome"), [(False, "SUCCESS"), (True, "FAILURE")])
def test_ignore_result(running: Running, raises: bool, outcome: str) -> None:
    """With `ignore_result` Celery stores nothing, and the record has the end."""
    task_id, record = running.run("unread", raises)
    assert (record.outcome, record.result_stored) == (outcome, False)
    assert running.bench.meta(task_id) is None


def test_ignore_result_by_the_message(running: Running) -> None:
    """The sender can set `ignore_result` for one message."""
    _, record = running.run("add", 1, 2, ignore_result=True)
    assert (record.outcome, record.result_stored) == ("SUCCESS", False)


def test_expired(running: Running) -> None:
    """A task that expires in the queue never starts."""
    _, record = running.run("add", 1, 2, expires=-1)
    assert (record.fact, record.outcome, record.executions) == (Fact.REVOKED, "EXPIRED", 0)
    assert record.name == running.tasks["add"].name


def test_scheduled(running: Running) -> None:
    """The record of a scheduled task has its time."""
    eta = datetime.now(UTC) + timedelta(seconds=0.5)
    _, record = running.run("add", 1, 2, eta=eta)
    assert abs(record.scheduled_for - eta) < timedelta(milliseconds=2)
    assert record.started_at >= eta - timedelta(milliseconds=50)


def test_an_unknown_task(running: Running) -> None:
    """A task that no worker knows has failed."""
    task_id = running.bench.app.send_task("no.such.task").id
    record = running.bench.wait(task_id)
    assert (record.fact, record.outcome, record.name) == (Fact.FINISHED, "FAILURE", "no.such.task")
    assert record.failure is not None
    assert (record.failure.type, record.failure.message) == ("NotRegistered", "no.such.task")


def test_an_invalid_message_is_rejected(running: Running) -> None:
    """Celery drops an invalid message silently; the record says that it was rejected."""
    task_id = running.bench.app.send_task(running.tasks["add"].name, (1, 2), headers={"eta": "never"}).id
    record = running.bench.wait(task_id)
    assert (record.fact, record.executions) == (Fact.REJECTED, 0)
    assert record.failure is not None
    assert record.failure.type == "InvalidTaskError"


def test_eager_tasks_leave_no_record(running: Running) -> None:
    """A task that is called eagerly is not recorded, because it was never submitted."""
    task_id = running.tasks["add"].apply((1, 2)).id
    assert running.bench.record(task_id) is None


# Signals that only the main process of a pool of processes sends.


@pytest.fixture
def idle(bench: Bench) -> Running:
    """Return an app without a worker."""
    bench.install()
    tasks = declare(bench.app)
    bench.app.finalize()
    return Running(bench, tasks)


@pytest.mark.parametrize(
    ("error", "type_name"),
    [(WorkerLostError("signal 9"), "WorkerLostError"), (TimeLimitExceeded(1), "TimeLimitExceeded")],
)
def test_a_process_that_is_gone(idle: Running, error: Exception, type_name: str) -> None:
    """The main process records a lost process once, for the attempt that was lost."""
    task = idle.bench.app.tasks[idle.tasks["add"].name]
    context = Context({"id": "t", "task": task.name, "retries": 2})
    task.request_stack.push(context)
    for exception in (Reject("said already"), error, error):
        signals.task_failure.send(sender=task, task_id="t", exception=exception)
    task.request_stack.pop()
    signals.task_failure.send(sender=task, task_id="t", exception=error)

    record = idle.bench.record("t")
    assert record is not None
    assert (record.fact, record.outcome, record.attempt, record.late) == (Fact.FINISHED, "FAILURE", 2, 0)
    assert record.failure is not None
    assert (record.failure.type, record.failure.traceback) == (type_name, None)


@pytest.mark.parametrize(("name", "fact"), [("add", Fact.FINISHED), ("requeuing", Fact.REQUEUED)])
def test_a_worker_that_shuts_down(idle: Running, name: str, fact: Fact) -> None:
    """At a shutdown an acknowledged message is lost and the task has failed; another one is requeued."""
    task = idle.bench.app.tasks[idle.tasks[name].name]
    signals.task_retry.send(sender=task, request=Context({"id": "t", "task": task.name}), einfo=None)
    record = idle.bench.record("t")
    assert record is not None
    assert record.fact is fact
    assert (record.failure is None) == (fact is Fact.REQUEUED)


def test_periodic_tasks_of_celery_leave_no_record(idle: Running) -> None:
    """Celery's periodic tasks are not recorded."""
    request = Context({"id": "t", "task": "celery.chord_unlock"})
    signals.task_retry.send(sender=idle.bench.app.tasks["celery.chord_unlock"], request=request, einfo=None)
    assert idle.bench.record("t") is None


def test_a_message_without_a_task_is_not_recorded(idle: Running) -> None:
    """A rejected message without an id, or of an unknown task, is not recorded by this signal."""
    for headers in ({}, {"id": "t", "task": "no.such.task"}):
        message = type("Message", (), {"headers": headers})
        signals.task_rejected.send(sender=Consumer(idle.bench.app), message=message, exc=ValueError("bad"))
    assert idle.bench.record("t") is None


class Consumer(NamedTuple):
    """The sender of a main process's signals."""

    app: Celery


class SomeRequest(Request):
    """Celery's Request, without a message."""

    def __init__(self, task: Any, context: Context) -> None:
        self._task = task
        self.context = context
        self.id = context.id
        self.seen: list[Any] = []

    @property
    def _context(self) -> Context:
        return self.context

    def on_timeout(self, soft: bool, timeout: float) -> None:
        self.seen.append(self.task.request)


class SomeStatusRequest(StatusRequest, SomeRequest):
    """A request of the worker, with the kit's class before Celery's."""


def test_a_time_limit_says_which_attempt(idle: Running) -> None:
    """Only the receivers of the failure signal see the request; the end is noted if there is no signal."""
    task = idle.bench.app.tasks[idle.tasks["add"].name]
    context = Context({"id": "t", "retries": 3, "task": task.name})
    request = SomeStatusRequest(task, context)
    request.on_timeout(True, 1.0)
    assert idle.bench.record("t") is None
    request.on_timeout(False, 1.0)
    assert request.seen == [context, context]
    assert task.request is not context
    record = idle.bench.record("t")
    assert record is not None
    assert record.failure is not None
    assert (record.attempt, record.failure.type) == (3, "TimeLimitExceeded")


def test_exit_in_a_task(idle: Running) -> None:
    """`sys.exit()` in a pool without processes is recorded as a failure; with `acks_late` the message returns."""
    for name in ("add", "requeuing"):
        task = idle.bench.app.tasks[idle.tasks[name].name]
        task.request_stack.push(Context({"id": name, "task": task.name}))
        signals.task_prerun.send(sender=task, task_id=name, task=task)
        try:
            sys.exit(3)
        except SystemExit:
            signals.task_postrun.send(sender=task, task_id=name, task=task, retval=None, state=None)
        task.request_stack.pop()
    left, kept = idle.bench.record("add"), idle.bench.record("requeuing")
    assert left is not None
    assert left.failure is not None
    assert (left.fact, left.failure.type) == (Fact.FINISHED, "SystemExit")
    assert kept is not None
    assert kept.fact is Fact.STARTED


def test_a_cancel_is_an_ignore() -> None:
    """TaskCanceled is an Ignore, so that Celery stores nothing over the end of the task."""
    assert issubclass(TaskCanceled, Ignore)
