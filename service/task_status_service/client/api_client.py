"""The HTTP API as methods: a problem response raises an error, and a transient failure is retried.

Every request is safe to retry: reads, cancels, and submissions with an Idempotency-Key.
"""

import http
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import urllib3

from task_status_service.client.event_stream import Event, Task, read_events
from task_status_service.client.exit_codes import ClientError, ExitCode
from task_status_service.client.retries import Retries
from task_status_service.version import VERSION

CONNECT_SECONDS: Final = 3.0
#: longer than the slowest response of the service
READ_SECONDS: Final = 30.0
#: three intervals of the stream's keep-alive comments
STREAM_SECONDS: Final = 45.0
#: bounds of the pause that a Retry-After header sets
_MIN_PAUSE_SECONDS: Final = 0.2
_MAX_PAUSE_SECONDS: Final = 30.0
#: the largest page of a list that the API allows
_PAGE_SIZE: Final = 200

_JSON: Final = re.compile(r"application/(?:problem\+)?json\b")
_TRANSIENT_STATUSES: Final = frozenset(
    {
        http.HTTPStatus.TOO_MANY_REQUESTS,
        http.HTTPStatus.BAD_GATEWAY,
        http.HTTPStatus.SERVICE_UNAVAILABLE,
        http.HTTPStatus.GATEWAY_TIMEOUT,
    }
)


class StreamUnavailable(Exception):
    """The event stream is not available, or it broke."""


class Poll(NamedTuple):
    """The response to one conditional read of a task."""

    #: None if the task has not changed
    task: Task | None
    #: the ETag
    version: str | None
    #: seconds until the next poll
    pause_seconds: float


class Client:
    """A connection to one service. Methods raise `ClientError` only, `events` also `StreamUnavailable`."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        report: Callable[[str], None] = lambda _: None,
        retries: Retries | None = None,
    ) -> None:
        """Check the URL and the API key.

        Args:
            url: URL of the service, with or without a path.
            key: API key; None sends none.
            sleep: pauses between requests.
            report: called once with the reason, if a request is retried.
            retries: limits of retries.

        Raises:
            ClientError: The URL or the key is invalid.
        """
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", url):
            raise ClientError(ExitCode.USAGE, f"Invalid service URL {url!r}: use a URL such as http://127.0.0.1:8000.")
        if key is not None and not re.fullmatch(r"[!-~]+", key):
            raise ClientError(
                ExitCode.USAGE, "Invalid API key: it must consist of visible ASCII characters, without spaces."
            )
        self.url = url.rstrip("/")
        self.sleep = sleep
        self.retries = retries or Retries()
        self._report = report
        self._pool = urllib3.PoolManager(
            headers={"User-Agent": f"task-status/{VERSION}", "Accept": "application/json"}
            | ({"Authorization": f"Bearer {key}"} if key else {}),
            retries=False,
        )

    def submit(self, submission: Mapping[str, Any], key: str) -> Task:
        """Submit a task; a repeated request with the same idempotency key returns the same task."""
        return self._json("POST", "/tasks", body=submission, headers={"Idempotency-Key": key})

    def retry(self, task_id: str, key: str) -> Task:
        """Submit a done task again, as a new task."""
        return self._json("POST", f"/tasks/{_quoted(task_id)}/retry", headers={"Idempotency-Key": key})

    def cancel(self, task_id: str, *, terminate: bool) -> Task:
        """Request the cancellation of a task."""
        return self._json("POST", f"/tasks/{_quoted(task_id)}/cancel", body={"terminate": terminate})

    def poll(self, task_id: str, version: str | None = None, *, retry_seconds: float | None = None) -> Poll:
        """Read a task if its version differs from the given one."""
        headers = {"If-None-Match": version} if version else {}
        response = self._request("GET", f"/tasks/{_quoted(task_id)}", headers=headers, retry_seconds=retry_seconds)
        task = None if response.status == http.HTTPStatus.NOT_MODIFIED else response.json()
        return Poll(task, response.headers.get("ETag"), self._pause_seconds(response))

    def result(self, task_id: str) -> Any:
        """Read the result of a task, whatever its size."""
        return self._request("GET", f"/tasks/{_quoted(task_id)}/result").json()

    def tasks(self, filters: Sequence[tuple[str, str]], *, limit: int) -> Iterator[Task]:
        """Yield up to `limit` tasks, newest first, page by page."""
        cursor = None
        while limit > 0:
            query = [*filters, ("limit", str(min(limit, _PAGE_SIZE))), *([("cursor", cursor)] if cursor else [])]
            page = self._json("GET", f"/tasks?{urlencode(query)}")
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def task_types(self, *, retry_seconds: float | None = None) -> list[dict[str, Any]]:
        """List the available task types."""
        items: list[dict[str, Any]] = self._json("GET", "/task-types", retry_seconds=retry_seconds)["items"]
        return items

    def task_type(self, name: str) -> dict[str, Any]:
        """Read one task type."""
        return self._json("GET", f"/task-types/{_quoted(name)}")

    def events(self, task_id: str, last_id: str | None = None) -> Iterator[Event]:
        """Yield the events of a task until its stream ends.

        Raises:
            StreamUnavailable: The service rejected the stream, or the stream broke.
        """
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        try:
            response = self._send("GET", f"/tasks/{_quoted(task_id)}/events", headers=headers, streams=True)
        except urllib3.exceptions.HTTPError as error:
            raise StreamUnavailable from error
        try:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise StreamUnavailable
            yield from read_events(response)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise StreamUnavailable from error
        finally:
            response.close()

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        answer = self._request(method, path, **options).json()
        if not isinstance(answer, dict):
            raise self._unexpected(path)
        return answer

    def _request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        retry_seconds: float | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, and retry it after transient failures for `retry_seconds`."""
        if retry_seconds is None:
            retry_seconds = self.retries.seconds
        until = time.monotonic() + retry_seconds
        was_reported = False
        while True:
            pause_seconds = self.retries.pause_seconds
            try:
                response = self._send(method, path, body=body, headers=headers or {})
            except urllib3.exceptions.HTTPError as failure:
                error = ClientError(
                    ExitCode.UNAVAILABLE,
                    f"{self.url} does not answer: {_reason(failure)}. Check the URL, and that the service runs.",
                )
                error.__cause__ = failure
            else:
                if not _is_transient(response):
                    return self._checked(response, path)
                pause_seconds = self._pause_seconds(response)
                error = self._error_of(response, path)
            if time.monotonic() + pause_seconds > until:
                raise error
            if not was_reported:
                self._report(f"{error} Retrying for up to {retry_seconds:.0f} s ...")
                was_reported = True
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
            # The API never redirects, and the API key must not reach another host.
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
            return self._unexpected(path, response.status)
        return ClientError.of_problem(response.status, problem)

    def _unexpected(self, path: str, status: int = http.HTTPStatus.OK) -> ClientError:
        return ClientError(
            ExitCode.UNAVAILABLE,
            f"{self.url}{path.partition('?')[0]} answered {status}, not in the format of task-status. Check the URL.",
        )

    def _pause_seconds(self, response: urllib3.BaseHTTPResponse) -> float:
        retry_after = response.headers.get("Retry-After", "")
        if not retry_after.isdecimal():
            return self.retries.pause_seconds
        return max(_MIN_PAUSE_SECONDS, min(float(retry_after), _MAX_PAUSE_SECONDS))


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


def _is_transient(response: urllib3.BaseHTTPResponse) -> bool:
    """Return whether a retry may succeed; a 409 does if another request with the same idempotency key is in flight."""
    is_in_flight = response.status == http.HTTPStatus.CONFLICT and "Retry-After" in response.headers
    return response.status in _TRANSIENT_STATUSES or is_in_flight


def _reason(failure: BaseException) -> str:
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return getattr(failure, "strerror", None) or type(failure).__name__
