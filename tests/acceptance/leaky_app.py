"""A Celery app whose tasks let a secret out in each way that an exception can."""

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
    """Raise with a text in which secrets have their places."""
    raise RuntimeError(text.format(**words))


@app.task(name="leaky.open")
def open_file(place: str, **_words: str):
    """Fail to open a file."""
    return Path(f"/nowhere/{place}/{place}.csv").read_text(encoding="utf-8")


@app.task(name="leaky.chain")
def chain(secret: str, **_words: str):
    """Raise because of something else that was raised."""
    try:
        Path(f"redis://:{secret}@db:6379/0").read_text(encoding="utf-8")
    except OSError as error:
        raise RuntimeError("it did not work") from error


@app.task(name="leaky.details")
def details(secret: str, place: str):
    """Say it in details."""
    said = {"password": secret, "lines": [f"api_key={secret}"], "at": f"/srv/{place}"}
    fail("refused", code="refused", details=said)


@app.task(name="leaky.retry", bind=True, max_retries=1)
def retry(self: Task, secret: str, **_words: str):
    """Try again for a long time."""
    raise self.retry(countdown=600, exc=ValueError(f"token={secret}"))


@app.task(name="leaky.raw", bind=True)
def raw(self: Task, secret: str, **_words: str):
    """Write a failure by hand, in a shape that nobody else has."""
    self.update_state(state="FAILURE", meta={"error": f"postgres://bob:{secret}@db", "auth": {"user": secret}})
    raise Ignore


@app.task(name="leaky.number")
def number(secret: str, how_many: int):
    """Take a secret and a number."""
