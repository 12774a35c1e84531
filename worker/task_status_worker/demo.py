"""The demo app, with one task for each way in which a task can end. Run: `celery -A task_status_worker.demo worker`.

The only module of the worker kit that reads the environment: `TASK_STATUS_REDIS_URL`, for broker, results and records.
"""

import os
import signal
import time
import traceback
from typing import Annotated, Any

from celery import Celery, Task, chord
from celery.exceptions import Ignore, Reject
from msgspec import Meta

from task_status_worker import fail as fail_task
from task_status_worker import install, report

_REDIS_URL = os.environ.get("TASK_STATUS_REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("task-status-demo", broker=_REDIS_URL, backend=_REDIS_URL)
app.conf.update(
    # Not Celery's default queue: a worker of another app on the same Redis would take these tasks without knowing them.
    task_default_queue="demo",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 1, "health_check_interval": 15},
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
install(app)

Seconds = Annotated[float, Meta(ge=0, le=3_600, description="Seconds.")]
Count = Annotated[int, Meta(ge=1, le=100_000)]


@app.task(name="demo.add")
def add(x: float, y: float) -> float:
    """Add two numbers."""
    return x + y


@app.task(name="demo.count", bind=True)
def count(self: Task, total: Count, interval: Seconds = 0.1) -> int:
    """Count up to `total`, and report as many tasks do: state PROGRESS with `done` and `total`."""
    for done in range(1, total + 1):
        time.sleep(interval)
        self.update_state(state="PROGRESS", meta={"done": done, "total": total})
    return total


@app.task(name="demo.fail")
def fail(message: str) -> None:
    """Raise a ValueError."""
    raise ValueError(message)


@app.task(name="demo.fail_with_details")
def fail_with_details(message: str, details: dict[str, Any]) -> None:
    """Fail with a code and details for the caller."""
    fail_task(message, code="demo", details=details)


@app.task(name="demo.raw_failure", bind=True)
def raw_failure(self: Task, custom: Any) -> None:
    """Store a FAILURE as many guides show it, which Celery's own reader cannot read; the kit completes it."""
    self.update_state(state="FAILURE", meta={"custom": custom})
    raise Ignore


@app.task(name="demo.raw_failure_fixed", bind=True)
def raw_failure_fixed(self: Task, custom: Any) -> None:
    """Store a FAILURE as corrected guides show it: with `exc_type`, and the traceback's lines as `exc_message`."""
    try:
        float("not a number")
    except ValueError as error:
        lines = traceback.format_exc().split("\n")
        meta = {"exc_type": type(error).__name__, "exc_message": lines, "custom": custom}
        self.update_state(state="FAILURE", meta=meta)
        raise Ignore from error


@app.task(name="demo.poison_then_return", bind=True)
def poison_then_return(self: Task, custom: Any) -> int:
    """Store a FAILURE that freezes the key under plain Celery, then return 42."""
    self.update_state(state="FAILURE", meta={"custom": custom})
    return 42


@app.task(name="demo.custom_final", bind=True)
def custom_final(self: Task, state: str, meta: Any) -> None:
    """End in a custom state."""
    self.update_state(state=state, meta=meta)
    raise Ignore


@app.task(name="demo.ignore")
def ignore() -> None:
    """End with `Ignore` and store nothing."""
    raise Ignore


@app.task(name="demo.reject", bind=True, acks_late=True)
def reject(self: Task, requeue: bool = False) -> str:
    """Reject the message; with `requeue`, return it to the queue once and succeed on the second delivery."""
    if requeue and self.request.delivery_info.get("redelivered"):
        return "accepted"
    raise Reject("the demo rejects it", requeue=requeue)


@app.task(name="demo.flaky", bind=True, max_retries=100)
def flaky(self: Task, fail_times: Annotated[int, Meta(ge=0, le=100)]) -> int:
    """Fail `fail_times` times, one second apart, then return the number of attempts."""
    if self.request.retries < fail_times:
        error = ConnectionError(f"attempt {self.request.retries + 1} failed")
        raise self.retry(exc=error, countdown=1)
    return int(self.request.retries) + 1


@app.task(name="demo.sleep")
def sleep(seconds: Seconds) -> float:
    """Sleep without a progress report."""
    time.sleep(seconds)
    return seconds


@app.task(name="demo.checkpointed")
def checkpointed(total: Count) -> int:
    """Work in steps of 0.1 s, and stop at the next step when canceled."""
    for done in range(total):
        report(done, total, message=f"step {done + 1} of {total}", stage="working")
        time.sleep(0.1)
    report(total, total, message="done", stage="working")
    return total


@app.task(name="demo.unserializable")
def unserializable() -> object:
    """Return a value that JSON cannot hold."""
    return object()


@app.task(name="demo.no_result", ignore_result=True)
def no_result() -> str:
    """Return a value that Celery does not store."""
    return "not stored"


@app.task(name="demo.replace_self", bind=True)
def replace_self(self: Task) -> Any:
    """Replace itself by another task under the same id."""
    return self.replace(add.s(20, 22))


@app.task(name="demo.crash")
def crash() -> None:
    """Kill the process that executes it."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="demo.tree")
def tree(width: Annotated[int, Meta(ge=1, le=1_000)]) -> str:
    """Start a group of `width` tasks and a task that adds up their results; return the id of the latter."""
    return str(chord(add.s(number, number) for number in range(width))(total.s()).id)


@app.task(name="demo.total")
def total(numbers: list[float]) -> float:
    """Add up a list of numbers."""
    return sum(numbers)
