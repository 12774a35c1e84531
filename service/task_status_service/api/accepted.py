"""How a request that makes a task is read and answered: its Idempotency-Key, its wait, where the task is."""

import hashlib
from typing import Final

import msgspec
from flask import Response, request

from task_status_service.api.auth.authentication import caller
from task_status_service.api.openapi import headers
from task_status_service.api.openapi.operations import OF_WRITING, json
from task_status_service.api.requests.options import WaitPreference
from task_status_service.api.requests.parameters import IDEMPOTENCY_KEY
from task_status_service.api.responses.caching import outcome_response
from task_status_service.api.waiting import wait_for_submitted
from task_status_service.errors import (
    BrokerUnavailable,
    Fault,
    IdempotencyConflict,
    IdempotencyInFlight,
    InvalidArguments,
    TooManyQueued,
    UnknownTaskType,
)
from task_status_service.use_cases.submission import Claim
from task_status_service.use_cases.submitter import Accepted

_KEY_HEADER: Final = "Idempotency-Key"

_HEADERS: Final = {"Location": "Location", "Idempotency-Replayed": "IdempotencyReplayed", **headers.PREFERENCE_APPLIED}

#: what the document says of `accepted`
ACCEPTED_RESPONSES: Final = {
    200: json("TaskStatus", "Accepted, and done within the wait.", "succeeded", headers=_HEADERS),
    202: json(
        "TaskStatus",
        "Accepted: recorded, and sent to the workers.",
        "queued",
        "scheduled",
        headers={"Retry-After": "RetryAfter", **_HEADERS},
    ),
}
#: and of what it cannot accept
OF_SUBMITTING: Final = (
    UnknownTaskType,
    InvalidArguments,
    IdempotencyConflict,
    IdempotencyInFlight,
    TooManyQueued,
    *OF_WRITING,
    BrokerUnavailable,
)


def claim_of_request(body: bytes = b"") -> Claim | None:
    """Read the key by which a client says that two requests are one, and what tells this request from any other.

    That is method, path, and the body whatever the order of its keys; not how long the client waits.

    Raises:
        InvalidArguments: the key is empty, too long, or not visible ASCII.
    """
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        fault = Fault("must be 1 to 255 visible ASCII characters", parameter=_KEY_HEADER)
        raise InvalidArguments("The request cannot be used.", [fault])
    asked = f"{request.method}\0{request.path}\0".encode() + _canonical(body)
    return Claim(key=key, fingerprint=hashlib.sha256(asked).hexdigest(), owner=caller().owner or "")


def _canonical(body: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(body), order="deterministic") if body else body


def accepted(outcome: Accepted, waits: WaitPreference) -> Response:
    """Answer what was accepted, now or before, after the wait that this request asks for."""
    task = wait_for_submitted(outcome.status, waits)
    response = outcome_response(task)
    # By hand: `url_for` builds it through the whole URL map.
    response.headers["Location"] = f"{request.script_root}/tasks/{task.id}"
    if outcome.is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return waits.acknowledge(response)
