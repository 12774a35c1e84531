"""A Celery app with the worker kit; its tasks append their real starts and ends to a file."""

import os
import signal
import time
from pathlib import Path

from celery import Celery, Task
from task_status_worker import install

app = Celery("guarded", broker=os.environ["TASK_STATUS_REDIS_URL"], backend=os.environ["TASK_STATUS_REDIS_URL"])
app.conf.update(broker_connection_retry_on_startup=True, worker_prefetch_multiplier=1)
install(app, delivery_limit=2)


def write_down(path: str, what: str) -> None:
    """Append a line to a file in one write."""
    with Path(path).open("a") as file:
        file.write(f"{what}\n")


@app.task(name="guarded.sleep", bind=True)
def sleep(self: Task, path, seconds=0.0):
    """Sleep; record the start and the end."""
    write_down(path, f"began {self.request.id}")
    time.sleep(seconds)
    write_down(path, f"ended {self.request.id}")
    return "done"


@app.task(name="guarded.crash", bind=True, acks_late=True, reject_on_worker_lost=True)
def crash(self: Task, path):
    """Kill the process that runs this task; the message returns to the queue."""
    write_down(path, f"began {self.request.id}")
    os.kill(os.getpid(), signal.SIGKILL)
