"""The Celery app of the alternatives: one Redis as broker and result backend."""

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])


@app.task(name="bench.add")
def add(x: int, y: int) -> int:
    """Add two numbers; no worker runs it here."""
    return x + y
