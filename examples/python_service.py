"""A service that uses task-status: it submits a task, polls it, and handles every outcome.

    make run                                        # the service with its demo tasks, in a separate terminal
    .venv/bin/python examples/python_service.py     # demo.count
    .venv/bin/python examples/python_service.py demo.fail '{"message": "boom"}'

`TASK_STATUS_URL` is the URL of the service, `TASK_STATUS_API_KEY` the key to send. Requires only requests.
"""

import argparse
import json
import os
import random
import sys
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import requests

SERVICE: Final = os.environ.get("TASK_STATUS_URL", "http://127.0.0.1:8000").rstrip("/")
API_KEY: Final = os.environ.get("TASK_STATUS_API_KEY")

#: seconds that one read may wait for a change
WAIT_SECONDS = 20
#: seconds for which to retry an unavailable service
RETRY_SECONDS = 60
#: the longest pause between retries, in seconds
MAX_PAUSE_SECONDS = 8

#: no response, or an incomplete one
UNREACHABLE: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
#: transient statuses; 409: another request with this Idempotency-Key is in flight
TRANSIENT: Final = {409, 429, 502, 503, 504}

session = requests.Session()
if API_KEY:
    session.headers["Authorization"] = f"Bearer {API_KEY}"


class RequestFailed(Exception):
    """The response is a problem (RFC 9457) that a retry does not solve."""

    def __init__(self, problem: dict[str, Any]) -> None:
        faults = [f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem["errors"]]
        super().__init__("\n  ".join([f"{problem['title']}: {problem['detail']}", *faults]))


class TaskNotFound(RequestFailed):
    """404: no task with this id was submitted with our key."""


class TaskExpired(RequestFailed):
    """410: the data of the task has expired. The task may have succeeded or failed."""


class InvalidRequest(RequestFailed):
    """422: the request is invalid, with the location of each fault. This is a bug in the client: do not retry."""


PROBLEMS: Final = {404: TaskNotFound, 410: TaskExpired, 422: InvalidRequest}


def ask(method: str, path: str, **options: Any) -> requests.Response:
    """Send a request, and retry it with growing pauses, never before Retry-After has passed."""
    deadline, pause = time.monotonic() + RETRY_SECONDS, 0.5
    while True:
        wait_seconds = 0
        try:
            response = session.request(method, f"{SERVICE}{path}", timeout=(3, WAIT_SECONDS + 10), **options)
        except UNREACHABLE:
            if time.monotonic() > deadline:
                raise
        else:
            if response.status_code not in TRANSIENT or time.monotonic() > deadline:
                return checked(response)
            wait_seconds = retry_after(response)
        # Random, so that clients that failed together do not retry together.
        time.sleep(wait_seconds + random.uniform(0, pause))
        pause = min(pause * 2, MAX_PAUSE_SECONDS)


def checked(response: requests.Response) -> requests.Response:
    """Return the response; raise RequestFailed if it is a problem."""
    if response.headers.get("Content-Type") == "application/problem+json":
        raise PROBLEMS.get(response.status_code, RequestFailed)(response.json())
    response.raise_for_status()  # an error without a problem document comes from a proxy
    return response


def retry_after(response: requests.Response) -> int:
    """Return the seconds of the Retry-After header, or 0."""
    seconds = response.headers.get("Retry-After", "")
    return int(seconds) if seconds.isdecimal() else 0


def submit(name: str, kwargs: dict[str, Any], key: str) -> requests.Response:
    """Submit a task; requests with the same idempotency key submit it once."""
    return ask("POST", "/tasks", json={"name": name, "kwargs": kwargs}, headers={"Idempotency-Key": key})


def follow(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield each new status of a task, from the one in this response to the last."""
    task, etag = response.json(), '""'  # matches no status, so that the first read does not wait
    yield task
    while not task["done"]:
        time.sleep(retry_after(response))
        headers = {"If-None-Match": etag}
        response = ask("GET", f"/tasks/{task['id']}", params={"wait": WAIT_SECONDS}, headers=headers)
        if response.status_code != HTTPStatus.NOT_MODIFIED:
            task, etag = response.json(), response.headers["ETag"]
            yield task


def outcome(task: dict[str, Any]) -> str:
    """Describe the outcome of a task. A failed task is an outcome, not an error of this program."""
    if task["state"] == "failed":
        failure = task["failure"]
        return f"failed: {failure['type']}: {failure['message']} {failure['details'] or ''}".rstrip()
    if task["state"] != "succeeded":
        return str(task["state"])  # canceled, expired, finished
    if any(found["code"] == "result_too_large" for found in task["diagnostics"]):
        return "succeeded: " + ask("GET", f"/tasks/{task['id']}/result").text.strip()
    return f"succeeded: {json.dumps(task['result'])}"


def main() -> None:
    """Submit a task, follow it, and print its outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="demo.count")
    parser.add_argument("kwargs", nargs="?", type=json.loads, default={"total": 30})
    # Derive the key from the purpose, such as order-4711: after a crash a new submission returns the same task.
    parser.add_argument("--key", default=str(uuid.uuid4()))
    options = parser.parse_args()
    try:
        for task in follow(submit(options.name, options.kwargs, options.key)):
            percent = (task["progress"] or {}).get("percent")
            print(task["id"], task["state"], "" if percent is None else f"{percent:.0f} %", flush=True)
        print(outcome(task))
    except (RequestFailed, *UNREACHABLE) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
