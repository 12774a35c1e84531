"""What a FastAPI user would write instead of this service."""

from typing import Any

from celery.result import AsyncResult
from fastapi import FastAPI

from bench.celery_app import app as celery

app = FastAPI()


@app.get("/tasks/{task_id}")
async def get_task(task_id: str) -> dict[str, Any]:
    """Answer state and info of a task. `async`, because in FastAPI's threads it is slower still."""
    result = AsyncResult(task_id, app=celery)
    return {"id": task_id, "state": result.state, "info": result.info}
