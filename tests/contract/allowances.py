"""Why a request that is right by the document may be refused: what no document can say, each with such a request."""

import re
from typing import Any, Final, NamedTuple


class Request(NamedTuple):
    """A request, right by the document: path, then query or body, and headers."""

    method: str
    path: str
    query: dict[str, list[str]] | None = None
    body: Any = None
    key: str | None = None


class Allowance(NamedTuple):
    """What a problem says of a fault: its type, the detail, and where; and requests of which the last one has it."""

    reason: str
    requests: list[Request]


def _submission(**more: Any) -> Request:
    return Request("POST", "/tasks", body={"name": "demo.add", "kwargs": {"x": 1, "y": 2}, **more})


ALLOWANCES: Final = {
    # Which names there are, and what they take, is for the workers to say: getTaskType tells.
    "unknown task type": Allowance(r"/problems/unknown-task-type .*", [_submission(name="no.such")]),
    "arguments that it does not take": Allowance(
        r"/problems/validation .* #/(args|kwargs)\b.*", [_submission(kwargs={"z": 3})]
    ),
    # JSON Schema knows no present time.
    "further away than ten years": Allowance(
        r"/problems/validation Must be within ten years from now\. .*", [_submission(eta="2000-01-01T00:00:00Z")]
    ),
    # One excludes the other: there are schemas for that, and generators do not read them.
    "two ways to say when": Allowance(
        r"/problems/validation Give countdown or eta, not both\. #/countdown",
        [_submission(countdown=1, eta="2026-12-31T00:00:00Z")],
    ),
    "a list of ids and a filter": Allowance(
        r"/problems/validation Not together with id\. \w+",
        [Request("GET", "/tasks", query={"id": ["a"], "name": ["demo.add"]})],
    ),
    # JSON Schema cannot compare the names within two texts.
    "two values for one label": Allowance(
        r"/problems/validation Two values for one key: no task has both\. label",
        [Request("GET", "/tasks", query={"label": ["a:1", "a:2"]})],
    ),
    # Nor add up how long all of them are; and any JSON has no schema in which to say how large its parts may be.
    "labels that a record cannot keep": Allowance(
        r"/problems/validation Must not be longer than \d+ bytes in all\. #/labels",
        [_submission(labels={f"a{number}": "€" * 250 for number in range(32)})],
    ),
    "a body that JSON readers lose a part of, or themselves in": Allowance(
        r"/problems/malformed-json The body (has an integer of more|has a text of more|has more|is nested deeper) .*",
        [_submission(args=[2**64])],
    ),
    # Opaque: one that the service has given out, and nothing else.
    "no cursor of this service": Allowance(
        r"/problems/validation Not a cursor of this service\. cursor",
        [Request("GET", "/tasks", query={"cursor": ["a"]})],
    ),
    # It depends on what there is, or on what was sent before.
    "nothing to watch": Allowance(
        r"/problems/validation .*: no such task id", [Request("GET", "/events", query={"id": ["a"]})]
    ),
    "a key that was used for something else": Allowance(
        r"/problems/idempotency-conflict .*",
        [_submission()._replace(key="twice"), _submission(args=[1, 2], kwargs={})._replace(key="twice")],
    ),
}


def names_of(problem: Any) -> list[str | None]:
    """Name the allowance of each fault of a problem; None: there is none."""
    reasons = [
        f"{problem['type']} {fault['detail']} {fault.get('pointer') or fault.get('parameter') or ''}"
        for fault in problem["errors"] or [problem]
    ]
    return [
        next((name for name, known in ALLOWANCES.items() if re.fullmatch(known.reason, reason, re.DOTALL)), None)
        for reason in reasons
    ]
