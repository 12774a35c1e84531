"""The compared servers, and the task that all of them read."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import redis
from task_status_service.store.records import RedisStore, connect_to
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note
from task_status_worker.task_types import announcements

from bench.celery_app import app as celery

TASK_ID: Final = "5f0c2f0e-2b1c-4c6a-9d54-4f3f6f1f8a10"
#: copies of the task, with numbered ids: four times the size of `StatusCache`, so that each read misses it
COPIES: Final = 16_384
#: ids of one batch: the maximum of the API
BATCH: Final = 100
_PATH: Final = f"/tasks/{TASK_ID}"
_POST: Final = Path(__file__).with_name("post.lua")
_ROTATE: Final = Path(__file__).with_name("rotate.lua")
_GUNICORN: Final = ["bench.flask_server"]


class Contender(NamedTuple):
    """One server, and one request that is repeated."""

    title: str
    #: arguments of `python -m`; contenders with the same ones share a server
    arguments: list[str]
    path: str = _PATH
    script: Path | None = None
    #: send the ETag of the first answer, so that every answer is a 304
    with_etag: bool = False
    #: number of statuses in one answer
    statuses: int = 1


_OURS: Final = ["task_status_service.cli", "serve"]
_UVICORN: Final = ["uvicorn", "bench.fastapi_rival:app", "--port", "{port}", "--log-level", "warning"]
_FLOWER: Final = ["celery", "-A", "bench.celery_app", "flower", "--address=127.0.0.1", "--port={port}"]

CONTENDERS: Final[Mapping[str, Contender]] = {
    "bare": Contender("Flask, constant bytes", [*_GUNICORN, "bare", "127.0.0.1:{port}"]),
    "get": Contender("task-status, `GET /tasks/{id}`", _OURS),
    "not_modified": Contender("task-status, the same as 304", _OURS, with_etag=True),
    "get_other": Contender("task-status, `GET` of another task each time", _OURS, script=_ROTATE),
    "batch": Contender(
        f"task-status, `GET /tasks?id=…` with {BATCH} ids",
        _OURS,
        path="/tasks?" + "&".join(f"id={TASK_ID}-{number}" for number in range(BATCH)),
        statuses=BATCH,
    ),
    "flask": Contender("Flask, `AsyncResult`", [*_GUNICORN, "async_result", "127.0.0.1:{port}"]),
    "fastapi": Contender("FastAPI, `AsyncResult`", _UVICORN),
    "flower": Contender("Flower, `/api/task/result/{id}`", _FLOWER, path=f"/api/task/result/{TASK_ID}"),
    "post": Contender("task-status, `POST /tasks`", _OURS, path="/tasks", script=_POST),
    "send_task": Contender(
        "Flask, `send_task`", [*_GUNICORN, "send_task", "127.0.0.1:{port}"], path="/tasks", script=_POST
    ),
    "send_only": Contender(
        "Flask, `send_task`, no result backend",
        [*_GUNICORN, "send_only", "127.0.0.1:{port}"],
        path="/tasks",
        script=_POST,
    ),
}


def arrange(redis_url: str) -> None:
    """Store a running task as Celery and the worker kit do, and announce the submitted task type."""
    store = RedisStore(connect_to(redis_url, sentinel_master=""), results=None, keys=Keys(), retention=Retention())
    progress = {"current": 42, "total": 100, "message": "Resizing images", "stage": "resize"}
    described = {"name": "bench.resize", "queue": "celery", "worker": "celery@worker-1", "labels": {"customer": "42"}}
    store.note(Note(task_id=TASK_ID, fact=Fact.SUBMITTED, **described))
    store.note(Note(task_id=TASK_ID, fact=Fact.RECEIVED, run="run-1", **described))
    store.note(Note(task_id=TASK_ID, fact=Fact.STARTED, run="run-1", **described))
    store.note(Note(task_id=TASK_ID, run="run-1", progress=progress))
    store.close()
    celery.backend.store_result(TASK_ID, progress, "PROGRESS")
    with redis.Redis.from_url(redis_url) as client:
        pipeline = client.pipeline(transaction=False)
        for key in (Keys().record(TASK_ID), Keys().meta(TASK_ID)):
            for number in range(COPIES):
                pipeline.copy(key, f"{key}-{number}")
        pipeline.execute()
        client.hset(Keys().task_types, mapping=dict(announcements(celery, now=int(time.time()))))
