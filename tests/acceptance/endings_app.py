"""A Celery app with the worker kit; its tasks end in ways that only the worker's main process sees."""

import os
import signal
import time

from celery import Celery, Task
from celery.exceptions import SoftTimeLimitExceeded
from task_status_worker import install

app = Celery("endings", broker=os.environ["TASK_STATUS_REDIS_URL"], backend=os.environ["TASK_STATUS_REDIS_URL"])
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1, task_default_queue="endings")
install(app)


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="endings.killed")
def killed() -> None:
    """Lose the process; the message was acknowledged before."""
    _kill_this_process()


@app.task(name="endings.killed_late", acks_late=True)
def killed_late() -> None:
    """Lose the process; Celery acknowledges the message when it sees that."""
    _kill_this_process()


@app.task(name="endings.killed_once", bind=True, acks_late=True, reject_on_worker_lost=True)
def killed_once(self: Task) -> str:
    """Lose the process of the first execution; the broker delivers the message again."""
    if not self.request.delivery_info["redelivered"]:
        _kill_this_process()
    return "second"


@app.task(name="endings.hard_limit", time_limit=1)
def hard_limit() -> None:
    """Exceed the hard time limit."""
    time.sleep(60)


@app.task(name="endings.hard_limit_late", time_limit=1, acks_late=True)
def hard_limit_late() -> None:
    """Exceed the hard time limit; Celery acknowledges the message then."""
    time.sleep(60)


@app.task(name="endings.soft_limit", soft_time_limit=1)
def soft_limit() -> None:
    """Exceed the soft time limit, and fail."""
    time.sleep(60)


@app.task(name="endings.soft_limit_caught", soft_time_limit=1)
def soft_limit_caught() -> str:
    """Exceed the soft time limit, and return a part."""
    try:
        time.sleep(60)
    except SoftTimeLimitExceeded:
        return "a part"
    return "all"


@app.task(name="endings.flaky", bind=True, max_retries=2)
def flaky(self: Task, fail_times: int) -> str:
    """Fail some times, each followed by a retry."""
    if self.request.retries < fail_times:
        raise self.retry(countdown=0, exc=ValueError("again"))
    return "in the end"


@app.task(name="endings.auto", autoretry_for=(ValueError,), max_retries=1, default_retry_delay=0)
def auto() -> None:
    """Fail until no retry is left."""
    raise ValueError("always")


@app.task(name="endings.long")
def long() -> None:
    """Run until it is terminated."""
    time.sleep(600)
