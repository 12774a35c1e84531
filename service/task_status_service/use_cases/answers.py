"""Answers to requests with an Idempotency-Key, packed to the facts that the repeated request does not contain. Pure.

The status of a new task has few facts besides those of its request: packed, it has about 30 bytes instead of 700. Any
other status, which only a resumed request returns, is packed as a whole.
"""

from datetime import datetime
from typing import Final

import msgspec

from task_status_service.status import TaskState, TaskStatus
from task_status_service.use_cases.submission import Submission

#: Celery's state of a task that no worker has received
PENDING: Final = "PENDING"

#: first byte of a status that is packed as a whole; a MessagePack array begins with another one
_JSON: Final = b"{"


class _Facts(msgspec.Struct, frozen=True, array_like=True):
    """The status of a new task, without what the repeated request contains."""

    submitted_at: datetime | None
    queue: str | None
    scheduled_for: datetime | None
    expires_at: datetime | None
    #: both are None if the request contains them; a retry copies them from a task that may be forgotten by now
    name: str | None
    labels: dict[str, str] | None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Facts).decode
_decode_json: Final = msgspec.json.Decoder(TaskStatus).decode


def new_status(
    task_id: str,
    *,
    name: str | None,
    queue: str | None,
    labels: dict[str, str],
    submitted_at: datetime | None,
    scheduled_for: datetime | None,
    expires_at: datetime | None,
) -> TaskStatus:
    """Return the status that a read of a new record would return, without reading it."""
    return TaskStatus(
        id=task_id,
        name=name,
        state=TaskState.QUEUED,
        done=False,
        celery_state=PENDING,
        queue=queue,
        labels=labels,
        submitted_at=submitted_at,
        updated_at=submitted_at,
        scheduled_for=scheduled_for,
        expires_at=expires_at,
    )


def packed(status: TaskStatus, request: Submission | None) -> bytes:
    """Pack the answer to a request; `request` is None if a repeated request does not contain its name and labels."""
    facts = _Facts(
        submitted_at=status.submitted_at,
        queue=status.queue,
        scheduled_for=status.scheduled_for,
        expires_at=status.expires_at,
        name=None if request else status.name,
        labels=None if request else status.labels,
    )
    is_enough = _rebuilt(facts, status.id, request) == status
    return _encode(facts) if is_enough else msgspec.json.encode(status)


def unpacked(answer: bytes, task_id: str, request: Submission | None) -> TaskStatus:
    """Rebuild the answer to an earlier request from its packed form and the repeated request.

    Raises:
        msgspec.MsgspecError: the packed form is invalid.
    """
    return _decode_json(answer) if answer.startswith(_JSON) else _rebuilt(_decode(answer), task_id, request)


def _rebuilt(facts: _Facts, task_id: str, request: Submission | None) -> TaskStatus:
    return new_status(
        task_id,
        name=request.call.name if request else facts.name,
        queue=facts.queue,
        labels=(request.labels if request else facts.labels) or {},
        submitted_at=facts.submitted_at,
        scheduled_for=facts.scheduled_for,
        expires_at=facts.expires_at,
    )
