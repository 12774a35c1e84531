"""What each program does with its client: submit, poll, wait, fail, be refused, cancel, list and watch."""

import json
from typing import Any


def told(printed: str) -> dict[str, Any]:
    """Read what a program has told of it, a JSON object a line; check that all is as it must be."""
    seen: dict[str, Any] = {}
    for line in printed.splitlines():
        seen |= json.loads(line)
    # None: a 304.
    assert None in seen["seen"]
    assert seen["seen"][-1] == "succeeded"
    assert seen["waited"] == "succeeded"
    failure = seen["failure"]
    assert (failure["kind"], failure["message"]) == ("exception", "too much")
    assert failure["details"]["details"] == {"field": "amount"}
    assert seen["problems"] == [404, 422, 401]
    assert seen["canceled"] == "canceled"
    assert seen["pages"] == [2, 2, 1]
    assert seen["events"]
    return seen
