"""The scenario of each client: submit, poll, wait, read failures and problems, cancel, list and watch."""

import json
from typing import Any


def check_output(printed: str) -> dict[str, Any]:
    """Check and return the output of a program, one JSON object per line."""
    seen: dict[str, Any] = {}
    for line in printed.splitlines():
        seen |= json.loads(line)
    # None stands for a 304.
    assert None in seen["seen"]
    assert seen["seen"][-1] == "succeeded"
    assert seen["waited"] == "succeeded"
    failure = seen["failure"]
    assert (failure["kind"], failure["message"]) == ("exception", "too much")
    assert failure["details"] == {"code": "demo", "field": "amount"}
    assert seen["problems"] == [404, 422, 401]
    assert seen["canceled"] == "canceled"
    assert seen["pages"] == [2, 2, 1]
    assert seen["events"]
    return seen
