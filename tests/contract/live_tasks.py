"""Real tasks for generated requests, one per kind, submitted on demand."""

import json
from collections.abc import Callable
from typing import Any, Final

import redis
import requests
from support.expiry import expire_now
from support.servers import wait_until
from task_status_worker.record.keys import Keys

#: kinds of tasks; each is a word of the dictionary in schemathesis.toml
KINDS: Final = ("canceled", "expired", "failed", "running", "scheduled", "succeeded")


class Tasks:
    """One task of each kind; a task that a request canceled or deleted is replaced."""

    def __init__(self, *, url: str, authorization: str, redis_url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.headers["Authorization"] = authorization
        self._redis = redis.Redis.from_url(redis_url)
        self._ids: dict[str, str] = {}

    def of(self, kind: str) -> str:
        """Return the id of a task of this kind."""
        if kind not in self._ids or not self._is_still(kind, self._ids[kind]):
            make: Callable[[], str] = getattr(self, f"_{kind}")
            self._ids[kind] = make()
        return self._ids[kind]

    def last_event(self, path: str, query: Any) -> str:
        """Return the id of the last event of a stream whose tasks are done, else "none": the request must not wait."""
        found = "none"
        with self._session.get(f"{self._url}{path}", params=query, stream=True, timeout=10) as response:
            for line in response.iter_lines(chunk_size=1):
                if line.startswith(b"id: "):
                    found = line.decode().removeprefix("id: ")
                if line.startswith(b"data: ") and not json.loads(line.removeprefix(b"data: "))["done"]:
                    return "none"
        return found

    def _is_still(self, kind: str, task_id: str) -> bool:
        response = self._read(task_id)
        if kind == "expired":
            return response.status_code == 410
        return response.ok and response.json()["state"] == {"scheduled": "queued"}.get(kind, kind)

    def _succeeded(self) -> str:
        return self._until("succeeded", self._submit("demo.add", x=1, y=2))

    def _failed(self) -> str:
        return self._until("failed", self._submit("demo.fail", message="as it should"))

    def _running(self, total: int = 100_000) -> str:
        return self._until("running", self._submit("demo.checkpointed", total=total))

    def _scheduled(self) -> str:
        return self._submit("demo.add", x=1, y=2, countdown=3_600)

    def _canceled(self) -> str:
        # A small total: a retry of the task ends soon.
        task_id = self._running(total=10)
        self._session.post(f"{self._url}/tasks/{task_id}/cancel", timeout=10).raise_for_status()
        return self._until("canceled", task_id)

    def _expired(self) -> str:
        """Expire a task now instead of in a week."""
        task_id, keys = self._succeeded(), Keys()
        self._redis.delete(keys.meta(task_id))
        expire_now(self._redis, keys, task_id)
        return task_id

    def _submit(self, name: str, *, countdown: int = 0, **kwargs: Any) -> str:
        body = {"name": name, "kwargs": kwargs, "countdown": countdown}
        response = self._session.post(f"{self._url}/tasks", json=body, timeout=10)
        response.raise_for_status()
        return str(response.json()["id"])

    def _read(self, task_id: str) -> requests.Response:
        return self._session.get(f"{self._url}/tasks/{task_id}", timeout=10)

    def _until(self, state: str, task_id: str) -> str:
        wait_until(lambda: self._read(task_id).json()["state"] == state, what=f"{task_id} to be {state}")
        return task_id
