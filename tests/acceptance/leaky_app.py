"""A Celery app whose tasks expose a secret in each part of an exception."""

import os
from pathlib import Path

from celery import Celery, Task
from celery.exceptions import Ignore
from task_status_worker import fail, install

app = Celery("leaky", broker=os.environ["TASK_STATUS_REDIS_URL"], backend=os.environ["TASK_STATUS_REDIS_URL"])
app.conf.update(broker_connection_retry_on_startup=True)
install(app)


@app.task(name="leaky.say")
def say(text: str, **words: str):
    """Raise an exception; its message is `text` with the secrets inserted."""
    raise RuntimeError(text.format(**words))


@app.task(name="leaky.open")
def open_file(place: str, **_words: str):
    """Fail to open a file."""
    return Path(f"/nowhere/{place}/{place}.csv").read_text(encoding="utf-8")


@app.task(name="leaky.chain")
def chain(secret: str, **_words: str):
    """Raise an exception whose cause contains the secret."""
    try:
        Path(f"redis://:{secret}@db:6379/0").read_text(encoding="utf-8")
    except OSError as error:
        raise RuntimeError("it did not work") from error


@app.task(name="leaky.details")
def details(secret: str, place: str):
    """Fail with the secret in the details."""
    values = {"password": secret, "lines": [f"api_key={secret}"], "at": f"/srv/{place}"}
    fail("refused", code="refused", details=values)


@app.task(name="leaky.retry", bind=True, max_retries=1)
def retry(self: Task, secret: str, **_words: str):
    """Retry in ten minutes, with the secret in the exception."""
    raise self.retry(countdown=600, exc=ValueError(f"token={secret}"))


@app.task(name="leaky.raw", bind=True)
def raw(self: Task, secret: str, **_words: str):
    """Store a FAILURE with a custom meta that contains the secret."""
    self.update_state(state="FAILURE", meta={"error": f"postgres://bob:{secret}@db", "auth": {"user": secret}})
    raise Ignore


@app.task(name="leaky.number")
def number(secret: str, how_many: int):
    """Accept a secret and a number; do nothing."""
