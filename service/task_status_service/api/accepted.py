"""Requests that create a task: the `Idempotency-Key`, the wait and the `Location` of the task."""

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
    NotReady,
    QuotaExceeded,
    TooManyQueued,
    UnknownQueue,
    UnknownTaskType,
)
from task_status_service.use_cases.submission import Claim
from task_status_service.use_cases.submitter import Accepted

_KEY_HEADER: Final = "Idempotency-Key"

_HEADERS: Final = {"Location": "Location", "Idempotency-Replayed": "IdempotencyReplayed", **headers.PREFERENCE_APPLIED}

#: responses of `accepted` in the OpenAPI document
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
#: its problems in the OpenAPI document
OF_SUBMITTING: Final = (
    UnknownTaskType,
    NotReady,
    UnknownQueue,
    InvalidArguments,
    IdempotencyConflict,
    IdempotencyInFlight,
    TooManyQueued,
    QuotaExceeded,
    *OF_WRITING,
    BrokerUnavailable,
)


def claim_of_request(body: bytes = b"") -> Claim | None:
    """Read the `Idempotency-Key` of the request, and compute its fingerprint.

    The fingerprint covers the method, the path and the body in any order of its keys, but not the wait. Its 128 bits
    distinguish the requests of one key; two requests of one client can only collide with each other.

    Raises:
        InvalidArguments: the key is empty, too long, or not visible ASCII.
    """
    key = request.headers.get(_KEY_HEADER)
    if key is None:
        return None
    if not IDEMPOTENCY_KEY.fullmatch(key):
        fault = Fault("must be 1 to 255 visible ASCII characters", parameter=_KEY_HEADER)
        raise InvalidArguments("The request is invalid: correct the listed errors.", [fault])
    fingerprinted = f"{request.method}\0{request.path}\0".encode() + _canonical(body)
    return Claim(key=key, fingerprint=hashlib.sha256(fingerprinted).digest()[:16], owner=caller().owner or "")


def _canonical(body: bytes) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(body), order="deterministic") if body else body


def accepted(outcome: Accepted, preference: WaitPreference) -> Response:
    """Return the response to an accepted submission, after the requested wait."""
    task = wait_for_submitted(outcome.status, preference)
    response = outcome_response(task)
    # Not by `url_for`, which searches the whole URL map.
    response.headers["Location"] = f"{request.script_root}/tasks/{task.id}"
    if outcome.is_replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return preference.acknowledge(response)
