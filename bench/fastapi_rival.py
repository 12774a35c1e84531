"""What a FastAPI user would write instead of this service."""

from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI

from bench.celery_app import app as celery

app = FastAPI()


@app.get("/tasks/{task_id}")
async def get_task(task_id: str) -> dict[str, Any]:
    """Answer state and info of a task, in the event loop: Celery blocks it for each read."""
    result = AsyncResult(task_id, app=celery)
    return {"id": task_id, "state": result.state, "info": result.info}
