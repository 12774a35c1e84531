"""A Celery app without the worker kit, as an existing project has it."""

import os
import time

from celery import Celery, Task
from celery.exceptions import Ignore

app = Celery("plain", broker=os.environ["TASK_STATUS_REDIS_URL"], backend=os.environ["TASK_STATUS_REDIS_URL"])
app.conf.update(task_track_started=True, task_default_queue="plain", broker_connection_retry_on_startup=True)


@app.task(name="plain.add")
def add(x, y):
    """Add two numbers."""
    return x + y


@app.task(name="plain.progress", bind=True)
def progress(self: Task, steps):
    """Report progress in a custom state."""
    for step in range(steps):
        self.update_state(state="CRUNCHING", meta={"current": step, "total": steps})
        time.sleep(0.05)
    return "crunched"


@app.task(name="plain.fail")
def fail():
    """Raise an exception."""
    raise KeyError("nothing there")


@app.task(name="plain.poison", bind=True)
def poison(self: Task):
    """Store a FAILURE that Celery cannot read."""
    self.update_state(state="FAILURE", meta={"error": "disk full"})
    raise Ignore


@app.task(name="plain.retry", bind=True)
def retry(self: Task):
    """Retry in an hour."""
    raise self.retry(exc=OSError("not yet"), countdown=3600)
