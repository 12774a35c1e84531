"""An HTTP client that records each answer; one connection, for one thread."""

import contextlib
import http.client
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from faults.history import Answer, Operation, Recorder, StatusEvent

#: timeout in seconds; longer than any answer may take, so that a late answer is recorded as late
_PATIENCE_SECONDS: Final = 15.0
#: seconds after which an idle connection is not reused: the server closes it after five
_IDLE_SECONDS: Final = 2.0

_ACCEPTED: Final = frozenset({200, 202})


class _Problem(msgspec.Struct, frozen=True):
    type: str = ""
    errors: list[dict[str, Any]] = []


class _Ready(msgspec.Struct, frozen=True):
    store_epoch: str | None = None
    warnings: list[str] = []


class _Batch(msgspec.Struct, frozen=True):
    items: list[msgspec.Raw]
    missing: list[str]
    next_cursor: str | None = None


class Client:
    """A client of one service that records each answer."""

    def __init__(self, url: str, recorder: Recorder, *, api_key: str | None = None) -> None:
        self._address = urlsplit(url).netloc
        self._recorder = recorder
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._connection: http.client.HTTPConnection | None = None
        self._used_at = 0.0

    def submit(self, name: str, *args: Any, key: str | None = None, **submission: Any) -> Answer:
        body = {"name": name, "args": args, **submission}
        return self._request("submit", "POST", "/tasks", body=body, key=key)

    def submit_until_accepted(self, name: str, *args: Any, key: str, seconds: float, **submission: Any) -> Answer:
        """Repeat a submission with one idempotency key until it is accepted.

        Raises:
            TimeoutError: it was not accepted within `seconds`
        """
        deadline = time.monotonic() + seconds
        while True:
            answer = self.submit(name, *args, key=key, **submission)
            if answer.accepted:
                return answer
            if time.monotonic() > deadline:
                raise TimeoutError(f"{key} is not accepted: {answer}")
            time.sleep(0.2)

    def read(self, task_id: str) -> Answer:
        return self._request("read", "GET", f"/tasks/{task_id}", task_id=task_id)

    def wait(self, task_id: str, *, seconds: float) -> Answer:
        """Read a task when it is done, or after `seconds`."""
        return self._request("wait", "GET", f"/tasks/{task_id}?wait={seconds:g}", task_id=task_id)

    def list_tasks(self, **query: object) -> Answer:
        """Read the first page of a list."""
        return self._request("list", "GET", f"/tasks?{urlencode(query)}")

    def watch(self, task_id: str) -> list[Answer]:
        """Read the stream of a task to its end; the first event is an answer, and later ones have no time limit."""
        found: list[Answer] = []
        at = time.monotonic()
        try:
            for status, text in self._stream(f"/tasks/{task_id}/events"):
                operation: Operation = "event" if found else "watch"
                found.append(self._answer(operation, at, status, text, task_id=task_id))
        except (OSError, http.client.HTTPException) as error:
            operation = "event" if found else "watch"
            answer = Answer(
                at=at, ended=time.monotonic(), operation=operation, error=repr(error)[:200], task_id=task_id
            )
            self._recorder.write(answer)
            found.append(answer)
        return found

    def read_many(self, task_ids: list[str]) -> Answer:
        """Read up to 100 tasks."""
        return self._request("batch", "GET", f"/tasks?{urlencode([('id', task_id) for task_id in task_ids])}")

    def cancel(self, task_id: str, *, terminate: bool = False) -> Answer:
        body = {"terminate": terminate}
        return self._request(
            "cancel", "POST", f"/tasks/{task_id}/cancel", body=body, task_id=task_id, terminate=terminate
        )

    def retry(self, task_id: str, *, key: str | None = None) -> Answer:
        # No `task_id`: the answer contains the new task, not the retried one.
        return self._request("retry", "POST", f"/tasks/{task_id}/retry", key=key)

    def forget(self, task_id: str) -> Answer:
        return self._request("forget", "DELETE", f"/tasks/{task_id}", task_id=task_id)

    def ready(self) -> Answer:
        return self._request("ready", "GET", "/readyz")

    def live(self) -> Answer:
        return self._request("live", "GET", "/livez")

    def ids_named(self, name: str) -> list[str]:
        """Return the ids of all tasks of this name, read page by page."""
        found, cursor = [], None
        while True:
            query = {"name": name, "limit": 200, **({"cursor": cursor} if cursor else {})}
            status, _, body = self._exchange("GET", f"/tasks?{urlencode(query)}", None, {})
            if status != 200:
                raise ConnectionError(f"{status}: {body!r}")
            page = msgspec.json.decode(body, type=_Batch)
            found += [msgspec.json.decode(item, type=StatusEvent).id for item in page.items]
            cursor = page.next_cursor
            if cursor is None:
                return found

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(
        self, operation: Operation, method: str, path: str, *, body: Any = None, key: str | None = None, **about: Any
    ) -> Answer:
        """Send one request; errors are recorded and not raised."""
        headers = {"Idempotency-Key": key} if key else {}
        at = time.monotonic()
        try:
            status, answered, text = self._exchange(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            answer = Answer(
                at=at, ended=time.monotonic(), operation=operation, error=repr(error)[:200], key=key, **about
            )
        else:
            answer = Answer(
                at=at,
                ended=time.monotonic(),
                operation=operation,
                status=status,
                retry_after="Retry-After" in answered,
                replayed=answered.get("Idempotency-Replayed") == "true",
                key=key,
                **about,
                **_contents(operation, status, text),
            )
        self._recorder.write(answer)
        return answer

    def _answer(self, operation: Operation, at: float, status: int, text: bytes, *, task_id: str) -> Answer:
        answer = Answer(
            at=at,
            ended=time.monotonic(),
            operation=operation,
            status=status,
            retry_after=True,
            task_id=task_id,
            **_contents(operation, status, text),
        )
        self._recorder.write(answer)
        return answer

    def _stream(self, path: str) -> Iterator[tuple[int, bytes]]:
        """Yield the data of each event, or the body of an answer that is no stream, with the HTTP status."""
        connection = http.client.HTTPConnection(self._address, timeout=_PATIENCE_SECONDS)
        try:
            connection.request("GET", path, headers=self._headers)
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                yield response.status, response.read()
                return
            for line in response:
                if line.startswith(b"data:"):
                    yield response.status, line.removeprefix(b"data:")
        finally:
            connection.close()

    def _exchange(
        self, method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is not None and time.monotonic() - self._used_at > _IDLE_SECONDS:
            self.close()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._address, timeout=_PATIENCE_SECONDS)
        headers = {**self._headers, **headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self._connection.request(method, path, msgspec.json.encode(body) if body is not None else None, headers)
        response = self._connection.getresponse()
        text = response.read()
        self._used_at = time.monotonic()
        return response.status, response.headers, text


def _contents(operation: Operation, status: int, text: bytes) -> dict[str, Any]:
    """Return the fields of a body that belong in the history."""
    if status >= 300:
        with contextlib.suppress(msgspec.MsgspecError):
            problem = msgspec.json.decode(text, type=_Problem)
            slug = problem.type.removeprefix("/problems/") or None
            return {"problem": slug, "faults": [str(fault.get("detail")) for fault in problem.errors]}
        return {}
    if operation == "ready":
        ready = msgspec.json.decode(text, type=_Ready)
        return {"epoch": ready.store_epoch, "warnings": ready.warnings}
    if operation in ("batch", "list"):
        batch = msgspec.json.decode(text, type=_Batch)
        return {"seen": [_seen(item) for item in batch.items], "missing": batch.missing}
    if operation in ("submit", "read", "wait", "watch", "event", "cancel", "retry") and status in _ACCEPTED:
        return {"seen": [_seen(text)]}
    return {}


def _seen(text: bytes) -> StatusEvent:
    status = msgspec.json.decode(text, type=StatusEvent)
    return msgspec.structs.replace(status, whole=bytes(text).decode()) if status.done else status
