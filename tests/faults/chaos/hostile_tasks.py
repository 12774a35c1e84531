"""The Celery app of the hostile tenant: its tasks may run, and store results that are expensive to read."""

import os

from celery import Celery
from task_status_worker import install

_REDIS_URL = os.environ["TASK_STATUS_REDIS_URL"]
_OPTIONS = {"master_name": os.environ.get("TASK_STATUS_SENTINEL_MASTER")}

app = Celery("hostile", broker=_REDIS_URL, backend=_REDIS_URL)
app.conf.update(
    task_default_queue="hostile",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={**_OPTIONS, "socket_timeout": 5, "socket_connect_timeout": 1},
    result_backend_transport_options=_OPTIONS,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)
install(app)


@app.task(name="hostile.nothing")
def nothing(*_args: object, **_kwargs: object) -> None:
    """Do nothing, with any arguments."""


@app.task(name="hostile.bomb")
def bomb(children: int = 100_000) -> list[object]:
    """Return a result of many small values."""
    return [[{}, {}, []] for _ in range(children)]
