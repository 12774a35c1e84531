"""Errors of requests that are valid according to the OpenAPI document, for rules that OpenAPI cannot express."""

import re
from typing import Any, Final, NamedTuple


class Request(NamedTuple):
    """A request that is valid according to the document."""

    method: str
    path: str
    query: dict[str, list[str]] | None = None
    body: Any = None
    key: str | None = None


class Allowance(NamedTuple):
    """A pattern for problem type, detail and location, with example requests; the last one gets this problem."""

    reason: str
    requests: list[Request]


def _submission(**more: Any) -> Request:
    return Request("POST", "/tasks", body={"name": "demo.add", "kwargs": {"x": 1, "y": 2}, **more})


ALLOWANCES: Final = {
    # Workers announce the task types and their arguments: see getTaskType.
    "unknown task type": Allowance(r"/problems/unknown-task-type .*", [_submission(name="no.such")]),
    # Workers announce the queues that they consume.
    "unknown queue": Allowance(r"/problems/unknown-queue .*", [_submission(queue="no-such-queue")]),
    "arguments that the task type does not accept": Allowance(
        r"/problems/validation .* #/(args|kwargs)\b.*", [_submission(kwargs={"z": 3})]
    ),
    # JSON Schema has no current time.
    "time more than ten years from now": Allowance(
        r"/problems/validation Must be within ten years from now\. .*", [_submission(eta="2000-01-01T00:00:00Z")]
    ),
    # Generators do not support schemas for properties that exclude each other.
    "both countdown and eta": Allowance(
        r"/problems/validation Send countdown or eta, not both\. #/countdown",
        [_submission(countdown=1, eta="2026-12-31T00:00:00Z")],
    ),
    "both ids and a filter": Allowance(
        r"/problems/validation Cannot be combined with id\. \w+",
        [Request("GET", "/tasks", query={"id": ["a"], "name": ["demo.add"]})],
    ),
    # JSON Schema cannot compare parts of two texts.
    "two values for one label": Allowance(
        r"/problems/validation Two values for one label: no task has both\. label",
        [Request("GET", "/tasks", query={"label": ["a:1", "a:2"]})],
    ),
    # JSON Schema cannot limit the sum of lengths, nor the parts of arbitrary JSON.
    "labels too large for a record": Allowance(
        r"/problems/validation Must not be longer than \d+ bytes in total\. #/labels",
        [_submission(labels={f"a{number}": "€" * 250 for number in range(16)})],
    ),
    "JSON that common parsers misread or reject": Allowance(
        r"/problems/malformed-json The body (has an integer of more|has a text of more|has more|is nested deeper) .*",
        [_submission(args=[2**64])],
    ),
    # Cursors are opaque: only the service makes valid ones.
    "cursor of another origin": Allowance(
        r"/problems/validation Must be a `next_cursor` that this service returned\. cursor",
        [Request("GET", "/tasks", query={"cursor": ["a"]})],
    ),
    # These depend on stored tasks or on earlier requests.
    "unknown task id": Allowance(
        r"/problems/validation .*: no such task id", [Request("GET", "/events", query={"id": ["a"]})]
    ),
    "idempotency key of another request": Allowance(
        r"/problems/idempotency-conflict .*",
        [_submission()._replace(key="twice"), _submission(args=[1, 2], kwargs={})._replace(key="twice")],
    ),
}


def names_of(problem: Any) -> list[str | None]:
    """Return the name of the allowance of each error, or None for an error without one."""
    reasons = [
        f"{problem['type']} {fault['detail']} {fault.get('pointer') or fault.get('parameter') or ''}"
        for fault in problem["errors"] or [problem]
    ]
    return [
        next((name for name, known in ALLOWANCES.items() if re.fullmatch(known.reason, reason, re.DOTALL)), None)
        for reason in reasons
    ]
