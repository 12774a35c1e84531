"""The alternative of a FastAPI user: `AsyncResult` in a route."""

from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI

from bench.celery_app import app as celery

app = FastAPI()


@app.get("/tasks/{task_id}")
async def get_task(task_id: str) -> dict[str, Any]:
    """Return state and info of a task; Celery blocks the event loop during each read."""
    result = AsyncResult(task_id, app=celery)
    return {"id": task_id, "state": result.state, "info": result.info}
