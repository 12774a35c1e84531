"""Record tasks in Redis with the service and the kit of one tree, and print the growth of its memory as JSON.

memory.py runs this module with PYTHONPATH set to a tree, which may be that of release 0.1.0; so it imports nothing from
`bench` and `tests`, and only names that both trees have. The worker is represented by its notes: a real worker takes
minutes for these tasks, and writes the same records.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Final
from uuid import uuid4

import redis

_QUEUE: Final = "demo"
_BODY: Final = {"name": "demo.add", "args": [1, 2]}
_WARM_UP: Final = 20
_NOTES_PER_TRIP: Final = 1_000


def main(count: int, api_key: str, *, with_idempotency_key: bool) -> None:
    """Submit `count` tasks with one of two ways to authenticate, then write the notes of a worker."""
    url = os.environ["TASK_STATUS_REDIS_URL"]
    with redis.Redis.from_url(url) as client:
        announced = {"name": "demo.add", "queue": _QUEUE, "arguments": True, "announced_at": time.time()}
        client.hset("task-status:task-types", "demo.add", json.dumps(announced))
        http = _http_client()

        def submit() -> str:
            headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
            if with_idempotency_key:
                headers["Idempotency-Key"] = str(uuid4())
            answer = http.post("/tasks", json=_BODY, headers=headers)
            if answer.status_code != 202:  # noqa: PLR2004  # Accepted
                raise ValueError(f"POST /tasks returned {answer.status}: {answer.text}")
            return str(answer.get_json()["id"])

        # Loads the scripts, and makes the keys that do not depend on the number of tasks.
        _work(client, [submit() for _ in range(_WARM_UP)])
        before = _used(client)
        task_ids = [submit() for _ in range(count)]
        queued = _used(client)
        _work(client, task_ids)
        done = _used(client)
    print(json.dumps([(after - before) / count for after in (queued, done)]))


def _http_client() -> Any:
    from task_status_service import app  # noqa: PLC0415
    from task_status_service.settings import from_env  # noqa: PLC0415

    # Release 0.1.0 has `create_app`.
    create: Any = getattr(app, "create_app", None) or (lambda settings: app.create_service(settings).app)
    return create(from_env()).test_client()


def _work(client: redis.Redis, task_ids: list[str]) -> None:
    """Write the notes of a worker that executes tasks."""
    packing, keys, model = _modules_of_kit()
    script = client.script_load(packing.NOTE_SCRIPT)
    notes = [note for task_id in task_ids for note in _notes(model, task_id)]
    for first in range(0, len(notes), _NOTES_PER_TRIP):
        pipeline = client.pipeline(transaction=False)
        for note in notes[first : first + _NOTES_PER_TRIP]:
            note_keys, arguments = packing.note_call(note, keys=keys.Keys(), retention=keys.Retention())
            pipeline.evalsha(script, len(note_keys), *note_keys, *arguments)
        pipeline.execute()


def _modules_of_kit() -> tuple[Any, Any, Any]:
    try:
        from task_status_worker.record import codec, keys, model  # noqa: PLC0415
    except ImportError:
        # Release 0.1.0.
        from task_status_worker import keys, packing, record  # type: ignore[attr-defined,no-redef]  # noqa: PLC0415

        return packing, keys, record
    return codec, keys, model


def _notes(model: Any, task_id: str) -> Iterator[Any]:
    """Return the notes of task_status_worker/signals.py for one execution."""
    described = {"name": "demo.add", "queue": _QUEUE, "root_id": task_id}
    run = uuid4().hex
    yield model.Note(task_id=task_id, fact=model.Fact.RECEIVED, **described)
    yield model.Note(
        task_id=task_id,
        fact=model.Fact.STARTED,
        run=run,
        worker="celery@a-host",
        instance="celery@a-host/5f2b1c9e",
        **described,
    )
    yield model.Note(task_id=task_id, fact=model.Fact.FINISHED, run=run, outcome="SUCCESS", result_stored=True)


def _used(client: redis.Redis) -> int:
    """Return used_memory without Celery's messages, which stay in the queue."""
    messages: Any = client.dump(_QUEUE)
    client.delete(_QUEUE)
    used = int(client.info("memory")["used_memory"])
    if messages:
        client.restore(_QUEUE, 0, messages)
    return used


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], with_idempotency_key=sys.argv[3] == "yes")
