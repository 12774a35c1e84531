"""The HTTP API as functions: problems are errors, and what passes by itself is waited for.

Every request here may be sent again: reads, cancels, and submissions, which carry an Idempotency-Key.
"""

import http
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import urllib3

from task_status_service.client.exit_codes import ClientError, ExitCode
from task_status_service.version import VERSION

Task = dict[str, Any]

CONNECT_SECONDS: Final = 3.0
#: longer than the service ever takes
READ_SECONDS: Final = 30.0
#: three of a stream's signs of life
STREAM_SECONDS: Final = 45.0
#: for how long what passes by itself is asked again
PATIENCE_SECONDS: Final = 10.0
#: between two attempts, where the service does not say
_PAUSE_SECONDS: Final = 1.0
#: ... and within these bounds if it does
_SHORTEST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: the largest page of a list, and the longest read of a stream
_PAGE: Final = 200
_CHUNK_BYTES: Final = 65_536

_JSON: Final = re.compile(r"application/(?:problem\+)?json\b")
_PASSES: Final = frozenset(
    {
        http.HTTPStatus.TOO_MANY_REQUESTS,
        http.HTTPStatus.BAD_GATEWAY,
        http.HTTPStatus.SERVICE_UNAVAILABLE,
        http.HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class NoStream(Exception):
    """There is no event stream to be had here and now."""


class Poll(NamedTuple):
    """What one poll told."""

    #: None: as it was
    task: Task | None
    version: str | None
    #: seconds until the next one
    after: float


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    task: Task


class Client:
    """Speak to one service. Every call raises `ClientError`, and nothing else."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Take the service's URL and an API key; `tell` is called with why it takes a while, if it does."""
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
            raise ClientError(ExitCode.USAGE, f"{url!r} is no URL of a service: it must be like http://127.0.0.1:8000")
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise ClientError(ExitCode.USAGE, "The API key must be visible ASCII.")
        self.url = url.rstrip("/")
        self.sleep = sleep
        self._tell = tell
        self._pool = urllib3.PoolManager(
            headers={"User-Agent": f"task-status/{VERSION}", "Accept": "application/json"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
            retries=False,
        )

    def submit(self, submission: Mapping[str, Any], key: str) -> Task:
        """Submit a task; sent again under the same key it is the same task."""
        return self._json("POST", "/tasks", body=submission, headers={"Idempotency-Key": key})

    def retry(self, task_id: str, key: str) -> Task:
        """Submit a task that is done once more."""
        return self._json("POST", f"/tasks/{_quoted(task_id)}/retry", headers={"Idempotency-Key": key})

    def cancel(self, task_id: str, *, terminate: bool) -> Task:
        """Ask for the end of a task."""
        return self._json("POST", f"/tasks/{_quoted(task_id)}/cancel", body={"terminate": terminate})

    def poll(self, task_id: str, version: str | None = None, *, patience_seconds: float = PATIENCE_SECONDS) -> Poll:
        """Read a task, if it is another version than this."""
        headers = {"If-None-Match": version} if version else {}
        response = self._ask("GET", f"/tasks/{_quoted(task_id)}", headers=headers, patience_seconds=patience_seconds)
        task = None if response.status == http.HTTPStatus.NOT_MODIFIED else response.json()
        return Poll(task, response.headers.get("ETag"), _pause_of(response))

    def result(self, task_id: str) -> Any:
        """Read the bare result of a task, of any size."""
        return self._ask("GET", f"/tasks/{_quoted(task_id)}/result").json()

    def tasks(self, filters: Sequence[tuple[str, str]], *, limit: int) -> Iterator[Task]:
        """List up to so many tasks, newest first, page by page."""
        cursor = None
        while limit > 0:
            query = [*filters, ("limit", str(min(limit, _PAGE))), *([("cursor", cursor)] if cursor else [])]
            page = self._json("GET", f"/tasks?{urlencode(query)}")
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def task_types(self, *, patience_seconds: float = PATIENCE_SECONDS) -> list[dict[str, Any]]:
        """List what may be submitted."""
        items: list[dict[str, Any]] = self._json("GET", "/task-types", patience_seconds=patience_seconds)["items"]
        return items

    def task_type(self, name: str) -> dict[str, Any]:
        """Read one of these."""
        return self._json("GET", f"/task-types/{_quoted(name)}")

    def events(self, task_id: str, last_id: str | None = None) -> Iterator[Event]:
        """Watch a task, until its stream ends.

        Raises:
            NoStream: there is none, or it broke.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            response = self._send("GET", f"/tasks/{_quoted(task_id)}/events", headers=headers, streams=True)
        except urllib3.exceptions.HTTPError as error:
            raise NoStream from error
        try:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise NoStream
            yield from _events(_lines(response))
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NoStream from error
        finally:
            response.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._ask(method, path, **options).json()
        if not isinstance(answer, dict):
            raise self._stranger(path)
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> urllib3.BaseHTTPResponse:
        """Ask until there is an answer, or patience ends."""
        until = time.monotonic() + patience_seconds
        was_told = False
        while True:
            pause_seconds = _PAUSE_SECONDS
            try:
                response = self._send(method, path, body=body, headers=headers or {})
            except urllib3.exceptions.HTTPError as failure:
                error = ClientError(ExitCode.UNAVAILABLE, f"{self.url} does not answer: {_reason(failure)}.")
                error.__cause__ = failure
            else:
                if not _passes(response):
                    return self._checked(response, path)
                pause_seconds = _pause_of(response)
                error = self._error_of(response, path)
            if time.monotonic() + pause_seconds > until:
                raise error
            if not was_told:
                self._tell(f"{error} Trying again for {patience_seconds:.0f} s ...")
                was_told = True
            self.sleep(pause_seconds)

    def _send(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str],
        streams: bool = False,
    ) -> urllib3.BaseHTTPResponse:
        return self._pool.request(
            method,
            f"{self.url}{path}",
            body=None if body is None else json.dumps(body).encode(),
            headers={**self._pool.headers, **({} if body is None else {"Content-Type": "application/json"}), **headers},
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=STREAM_SECONDS if streams else READ_SECONDS),
            preload_content=not streams,
            # The API redirects nobody, and a key is for nobody else.
            redirect=False,
        )

    def _checked(self, response: urllib3.BaseHTTPResponse, path: str) -> urllib3.BaseHTTPResponse:
        if response.status == http.HTTPStatus.NOT_MODIFIED:
            return response
        if http.HTTPStatus.OK <= response.status < http.HTTPStatus.MULTIPLE_CHOICES and _is_json(response):
            return response
        raise self._error_of(response, path)

    def _error_of(self, response: urllib3.BaseHTTPResponse, path: str) -> ClientError:
        problem = response.json() if _is_json(response) else None
        if not isinstance(problem, dict) or response.status < http.HTTPStatus.BAD_REQUEST:
            return self._stranger(path, response.status)
        return ClientError.of_problem(response.status, problem)

    def _stranger(self, path: str, status: int = http.HTTPStatus.OK) -> ClientError:
        return ClientError(
            ExitCode.UNAVAILABLE, f"{self.url}{path.partition('?')[0]} answered {status}, and not as task-status does."
        )


def _quoted(segment: str) -> str:
    return quote(segment, safe="")


def _is_json(response: urllib3.BaseHTTPResponse) -> bool:
    if not _JSON.match(response.headers.get("Content-Type", "")):
        return False
    try:
        response.json()
    except (ValueError, RecursionError):
        return False
    return True


def _passes(response: urllib3.BaseHTTPResponse) -> bool:
    """Tell whether the same request may do better in a moment: 409 if another one with this key is at it."""
    is_in_flight = response.status == http.HTTPStatus.CONFLICT and "Retry-After" in response.headers
    return response.status in _PASSES or is_in_flight


def _pause_of(response: urllib3.BaseHTTPResponse) -> float:
    told = response.headers.get("Retry-After", "")
    if not told.isdecimal():
        return _PAUSE_SECONDS
    return max(_SHORTEST_PAUSE_SECONDS, min(float(told), _LONGEST_PAUSE_SECONDS))


def _reason(failure: BaseException) -> str:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return getattr(failure, "strerror", None) or type(failure).__name__


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Give the lines of a body as they come."""
    rest = b""
    while chunk := response.read1(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.rstrip(b"\r") for line in lines)


def _events(lines: Iterator[bytes]) -> Iterator[Event]:
    """Read an event stream, as far as this API writes one: one line of data for each."""
    fields: dict[bytes, bytes] = {}
    for line in lines:
        if not line:
            if fields.get(b"event") == b"status" and b"data" in fields:
                yield Event(fields.get(b"id", b"").decode(), json.loads(fields[b"data"]))
            fields = {}
            continue
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")
