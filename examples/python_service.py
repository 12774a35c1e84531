"""A service that uses task-status: it submits a task, polls it, and handles every outcome.

    make run                                        # the service with its demo tasks, in a terminal of its own
    .venv/bin/python examples/python_service.py     # demo.count
    .venv/bin/python examples/python_service.py demo.fail '{"message": "boom"}'

`TASK_STATUS_URL` says where the service is, `TASK_STATUS_API_KEY` what key to send. Needs requests, and nothing else.
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
#: seconds to retry an unavailable service, and the longest pause between retries
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 8

#: no answer, or an incomplete one
AWAY: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
#: transient statuses; 409: another request with this Idempotency-Key is in flight
PASSES: Final = {409, 429, 502, 503, 504}

session = requests.Session()
if API_KEY:
    session.headers["Authorization"] = f"Bearer {API_KEY}"


class Refused(Exception):
    """The answer is a problem (RFC 9457) that a retry does not solve."""

    def __init__(self, problem: dict[str, Any]) -> None:
        faults = [f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem["errors"]]
        super().__init__("\n  ".join([f"{problem['title']}: {problem['detail']}", *faults]))


class NeverWas(Refused):
    """404: no such task was ever submitted with our key."""


class Gone(Refused):
    """410: the task existed, and its data has expired. It may have succeeded or failed."""


class Mistaken(Refused):
    """422: the request is invalid, and each fault has its location. A bug of the caller: do not retry."""


REFUSALS: Final = {404: NeverWas, 410: Gone, 422: Mistaken}


def ask(method: str, path: str, **options: Any) -> requests.Response:
    """Send a request, and retry it with growing pauses, never sooner than Retry-After."""
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
        # Random, so that clients that failed together do not retry together.
        time.sleep(told + random.uniform(0, pause))
        pause = min(pause * 2, PAUSE_SECONDS)


def checked(response: requests.Response) -> requests.Response:
    """Return the answer; raise if it is a problem."""
    if response.headers.get("Content-Type") == "application/problem+json":
        raise REFUSALS.get(response.status_code, Refused)(response.json())
    response.raise_for_status()  # what is no problem document comes from a proxy
    return response


def retry_after(response: requests.Response) -> int:
    """Return the seconds of the Retry-After header."""
    told = response.headers.get("Retry-After", "")
    return int(told) if told.isdecimal() else 0


def submit(name: str, kwargs: dict[str, Any], key: str) -> requests.Response:
    """Submit a task; repeated requests with the same key submit it once."""
    return ask("POST", "/tasks", json={"name": name, "kwargs": kwargs}, headers={"Idempotency-Key": key})


def follow(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield each new status of a task, from the one in this answer to the last."""
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
    """Describe the outcome of a task. A failed task is an outcome, not an exception."""
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
    # Derive the key from the purpose, such as order-4711: after a crash this service then finds its task again.
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
