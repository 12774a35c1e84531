"""The Celery app of the rivals: one broker and one result backend, as any project has it."""

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"], backend=os.environ["BENCH_REDIS_URL"])


@app.task(name="bench.add")
def add(x: int, y: int) -> int:
    """Add; never run here."""
    return x + y
