"""The Celery app of the fault suite: its tasks append their real starts and ends to a file (truth.py).

The path of the file is `FAULTS_TRUTH`. `FAULTS_VISIBILITY_SECONDS` is the visibility timeout, after which Redis
delivers an unacknowledged message to another worker.
"""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from celery import Celery, Task
from task_status_worker import install, report

from faults.truth import Action, append, now

_REDIS_URL = os.environ["TASK_STATUS_REDIS_URL"]
_TRUTH = os.environ["FAULTS_TRUTH"]
_SENTINEL_MASTER = os.environ.get("TASK_STATUS_SENTINEL_MASTER")
#: the options of Celery's broker and result backend for a Redis behind sentinels
_SENTINEL = {"master_name": _SENTINEL_MASTER} if _SENTINEL_MASTER else {}

app = Celery("faults", broker=_REDIS_URL, backend=_REDIS_URL)
app.conf.update(
    task_default_queue="faults",
    broker_connection_retry_on_startup=True,
    # Unlimited: the suite kills Redis many times.
    broker_connection_max_retries=None,
    broker_transport_options={
        **_SENTINEL,
        "socket_timeout": 5,
        "socket_connect_timeout": 1,
        "health_check_interval": 15,
        "visibility_timeout": float(os.environ.get("FAULTS_VISIBILITY_SECONDS", "3600")),
        # Look for unacknowledged messages each second, without throttling (kombu/transport/redis.py, restore_visible).
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
    },
    result_backend_transport_options=_SENTINEL,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
install(app)


@contextmanager
def _truth(task: Task) -> Iterator[None]:
    """Record the start of an execution, and its end unless an exception or a kill prevents it."""
    run = uuid.uuid4().hex

    def did(what: str) -> None:
        request = task.request
        action = Action(at=now(), task_id=request.id, run=run, attempt=request.retries, pid=os.getpid(), what=what)
        append(_TRUTH, action)

    did("started")
    yield
    did("finished")


@app.task(name="faults.work", bind=True)
def work(self: Task, seconds: float = 0.0) -> float:
    """Sleep."""
    with _truth(self):
        time.sleep(seconds)
    return seconds


@app.task(name="faults.late", bind=True, acks_late=True)
def late(self: Task, seconds: float = 0.0) -> float:
    """Sleep; the message is acknowledged at the end, so another worker may receive it before."""
    with _truth(self):
        time.sleep(seconds)
    return seconds


@app.task(name="faults.hold", bind=True)
def hold(self: Task, gate: str) -> str:
    """Wait until this file exists, then finish."""
    with _truth(self):
        while not Path(gate).exists():
            time.sleep(0.02)
    return gate


@app.task(name="faults.spin", bind=True)
def spin(self: Task, seconds: float) -> int:
    """Use a core fully, and release the interpreter lock only briefly."""
    turns = 0
    with _truth(self):
        end = now() + seconds
        while now() < end:
            turns += sum(range(10_000)) > 0
    return turns


@app.task(name="faults.fail", bind=True)
def fail(self: Task) -> None:
    """Raise an exception."""
    with _truth(self):
        raise ValueError("as asked")


@app.task(name="faults.flaky", bind=True, max_retries=10)
def flaky(self: Task, fail_times: int = 2) -> int:
    """Retry `fail_times` times, then finish."""
    with _truth(self):
        if self.request.retries < fail_times:
            raise self.retry(countdown=0.2)
    return int(self.request.retries)


@app.task(name="faults.checkpointed", bind=True)
def checkpointed(self: Task, steps: int) -> int:
    """Work in steps of a tenth of a second; stop at the next one when canceled."""
    with _truth(self):
        for step in range(steps):
            report(step, steps)
            time.sleep(0.1)
    return steps


@app.task(name="faults.crash", bind=True, acks_late=True, reject_on_worker_lost=True)
def crash(self: Task) -> None:
    """Kill the process that runs this task; the message returns to the queue each time."""
    with _truth(self):
        os.kill(os.getpid(), signal.SIGKILL)
