"""Another service that has work done by Celery: it submits a task, polls politely, and knows what may become of it.

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

#: for how long one read may wait for a change
WAIT_SECONDS = 20
#: for how long a service that is away or busy is asked again, and our longest pause meanwhile
PATIENCE_SECONDS = 60
PAUSE_SECONDS = 8

#: no answer, or a part of one
AWAY: Final = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
#: what passes by itself; 409: another request with this Idempotency-Key is being answered
PASSES: Final = {409, 429, 502, 503, 504}

session = requests.Session()
if API_KEY:
    session.headers["Authorization"] = f"Bearer {API_KEY}"


class Refused(Exception):
    """The answer is a problem (RFC 9457) that does not pass by itself."""

    def __init__(self, problem: dict[str, Any]) -> None:
        faults = [f"{fault.get('pointer') or fault.get('parameter')}: {fault['detail']}" for fault in problem["errors"]]
        super().__init__("\n  ".join([f"{problem['title']}: {problem['detail']}", *faults]))


class NeverWas(Refused):
    """404: no such task was ever submitted with our key."""


class Gone(Refused):
    """410: it was, and too long ago: nothing is kept of it. That does not say that it failed."""


class Mistaken(Refused):
    """422: what we sent cannot be used, and each fault says where. A mistake on our side: do not send it again."""


REFUSALS: Final = {404: NeverWas, 410: Gone, 422: Mistaken}


def ask(method: str, path: str, **options: Any) -> requests.Response:
    """Send a request until it is answered: later and later, and never sooner than the service says."""
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
        # At random, so that those who were turned away together do not come back together.
        time.sleep(told + random.uniform(0, pause))
        pause = min(pause * 2, PAUSE_SECONDS)


def checked(response: requests.Response) -> requests.Response:
    """Give the answer, unless it is a problem."""
    if response.headers.get("Content-Type") == "application/problem+json":
        raise REFUSALS.get(response.status_code, Refused)(response.json())
    response.raise_for_status()  # what is no problem document comes from a proxy
    return response


def retry_after(response: requests.Response) -> int:
    """Tell how many seconds the service wants us to wait."""
    told = response.headers.get("Retry-After", "")
    return int(told) if told.isdecimal() else 0


def submit(name: str, kwargs: dict[str, Any], key: str) -> requests.Response:
    """Submit a task: one, however often this is sent and whatever breaks meanwhile, as long as the key is the same."""
    return ask("POST", "/tasks", json={"name": name, "kwargs": kwargs}, headers={"Idempotency-Key": key})


def follow(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Give each new status of a task, from the one in this answer to the last."""
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
    """Say what became of a task. That it failed is an answer like any other, and no exception."""
    if task["state"] == "failed":
        failure = task["failure"]
        return f"failed: {failure['type']}: {failure['message']} {failure['details'] or ''}".rstrip()
    if task["state"] != "succeeded":
        return str(task["state"])  # canceled, expired, finished
    if any(found["code"] == "result_too_large" for found in task["diagnostics"]):
        return "succeeded: " + ask("GET", f"/tasks/{task['id']}/result").text.strip()
    return f"succeeded: {json.dumps(task['result'])}"


def main() -> None:
    """Have a task done, and tell of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", nargs="?", default="demo.count")
    parser.add_argument("kwargs", nargs="?", type=json.loads, default={"total": 30})
    # Make it of what the work is for, such as order-4711: then a service that has crashed itself finds its task again.
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
