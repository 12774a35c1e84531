"""A service that submits a task, polls politely, and handles every outcome.

    make run                                        # the service with its demo tasks, in a separate terminal
    .venv/bin/python examples/python_service.py     # demo.count
    .venv/bin/python examples/python_service.py demo.fail '{"message": "boom"}'

`TASK_STATUS_URL` is the address of the service, `TASK_STATUS_API_KEY` the key to send. Requires requests.
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

#: maximum seconds that one read waits for a change
WAIT_SECONDS = 20
#: seconds for which a request to an unavailable or busy service is retried, and the longest pause between retries
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 8

#: no response, or an incomplete one
AWAY: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
#: temporary errors; 409: another request with this Idempotency-Key is being processed
PASSES: Final = {409, 429, 502, 503, 504}

session = requests.Session()
if API_KEY:
    session.headers["Authorization"] = f"Bearer {API_KEY}"


class Refused(Exception):
    """The response is a permanent problem (RFC 9457)."""

    def __init__(self, problem: dict[str, Any]) -> None:
        faults = [f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem["errors"]]
        super().__init__("\n  ".join([f"{problem['title']}: {problem['detail']}", *faults]))


class NeverWas(Refused):
    """404: no task with this id was submitted with our key."""


class Gone(Refused):
    """410: the task has expired and its data is deleted; it may have succeeded."""


class Mistaken(Refused):
    """422: our request is invalid, and each fault names its place: do not send it again."""


REFUSALS: Final = {404: NeverWas, 410: Gone, 422: Mistaken}


def ask(method: str, path: str, **options: Any) -> requests.Response:
    """Send a request and retry temporary errors, with growing pauses of at least `Retry-After` seconds."""
    until, pause = time.monotonic() + PATIENCE_SECONDS, 0.5
    while True:
        told = 0
        try:
            response = session.request(method, f"{SERVICE}{path}", timeout=(3, WAIT_SECONDS + 10), **options)
        except AWAY:
            if time.monotonic() > until:
                raise
        else:
            if response.status_code not in PASSES or time.monotonic() > until:
                return checked(response)
            told = retry_after(response)
        # Random, so that clients that were rejected together do not retry together.
        time.sleep(told + random.uniform(0, pause))
        pause = min(pause * 2, PAUSE_SECONDS)


def checked(response: requests.Response) -> requests.Response:
    """Return the response; raise if it is a problem."""
    if response.headers.get("Content-Type") == "application/problem+json":
        raise REFUSALS.get(response.status_code, Refused)(response.json())
    response.raise_for_status()  # an error without a problem document comes from a proxy
    return response


def retry_after(response: requests.Response) -> int:
    """Return the seconds of `Retry-After`; 0 without the header."""
    told = response.headers.get("Retry-After", "")
    return int(told) if told.isdecimal() else 0


def submit(name: str, kwargs: dict[str, Any], key: str) -> requests.Response:
    """Submit one task, however often the request is repeated with the same key."""
    return ask("POST", "/tasks", json={"name": name, "kwargs": kwargs}, headers={"Idempotency-Key": key})


def follow(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield each new status of a task, from the one in this response to the final one."""
    task, etag = response.json(), '""'  # the tag of nothing, so that the first read does not wait
    yield task
    while not task["done"]:
        time.sleep(retry_after(response))
        known = {"If-None-Match": etag}
        response = ask("GET", f"/tasks/{task['id']}", params={"wait": WAIT_SECONDS}, headers=known)
        if response.status_code != HTTPStatus.NOT_MODIFIED:
            task, etag = response.json(), response.headers["ETag"]
            yield task


def outcome(task: dict[str, Any]) -> str:
    """Describe the outcome of a task; a failed task is data and not an exception."""
    if task["state"] == "failed":
        failure = task["failure"]
        return f"failed: {failure['type']}: {failure['message']} {failure['details'] or ''}".rstrip()
    if task["state"] != "succeeded":
        return str(task["state"])  # canceled, expired, finished
    if any(found["code"] == "result_too_large" for found in task["diagnostics"]):
        return "succeeded: " + ask("GET", f"/tasks/{task['id']}/result").text.strip()
    return f"succeeded: {json.dumps(task['result'])}"


def main() -> None:
    """Submit a task and print each status and the outcome."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="demo.count")
    parser.add_argument("kwargs", nargs="?", type=json.loads, default={"total": 30})
    # Derive it from the work, such as order-4711: then a restarted service finds its task again.
    parser.add_argument("--key", default=str(uuid.uuid4()))
    given = parser.parse_args()
    try:
        for task in follow(submit(given.name, given.kwargs, given.key)):
            percent = (task["progress"] or {}).get("percent")
            print(task["id"], task["state"], "" if percent is None else f"{percent:.0f} %", flush=True)
        print(outcome(task))
    except (Refused, *AWAY) as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
