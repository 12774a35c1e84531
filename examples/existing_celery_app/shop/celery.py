"""The shop's Celery app. Two lines were added for task-status: an import and a call."""

import os

import task_status_worker
from celery import Celery

REDIS_URL = os.environ.get("SHOP_REDIS_URL", "redis://127.0.0.1:6379/0")

app = Celery("shop", include=["shop.tasks"])
app.conf.update(
    broker_url=REDIS_URL,
    result_backend=REDIS_URL,
    result_expires=3_600,
    task_default_queue="shop",
    broker_connection_retry_on_startup=True,
)
task_status_worker.install(app)
