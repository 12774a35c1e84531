"""How a client polls politely: when to ask again, and how to hear that nothing has changed."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from flask import Response, request

from task_status_service.api.answers import JSON, KEPT, LIVE
from task_status_service.status import Snapshot, TaskStatus

#: age of the task up to which a client asks again after so many seconds, both in seconds
_STEPS: Final = ((10, 1), (60, 2), (600, 5))
_LAST_STEP_SECONDS: Final = 15


def poll_after_seconds(record: Mapping[bytes, bytes], now: float) -> int:
    """Say when to ask again about a task that is not done: quick at first, longer with age.

    What waits for its time, scheduled or to be tried again, is worth a look when that has come, unless it is to be
    canceled. Reads the packed record, so that a 304 needs no decoding; without one the task's age is not known. `now`
    in seconds since the epoch.
    """
    if record.get(b"cancel_requested") != b"1":
        waits_seconds = max(_seconds(record, b"scheduled_for"), _seconds(record, b"next_retry_at")) - now
        if waits_seconds > 0:
            return math.ceil(waits_seconds)
    began = max(_seconds(record, b"submitted_at"), _seconds(record, b"started_at"))
    age_seconds = now - began if began else 0
    return next((step for limit, step in _STEPS if age_seconds < limit), _LAST_STEP_SECONDS)


def poll_status_after_seconds(task: TaskStatus, now: float) -> int:
    """Say the same about a status that is at hand."""
    times = {
        b"scheduled_for": task.scheduled_for,
        b"next_retry_at": task.next_retry_at,
        b"submitted_at": task.submitted_at,
        b"started_at": task.started_at,
    }
    record = {name: b"%d" % (moment.timestamp() * 1_000) for name, moment in times.items() if moment}
    return poll_after_seconds({**record, b"cancel_requested": b"%d" % task.cancel_requested}, now)


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    packed = record.get(field)
    return int(packed[:15]) / 1_000 if packed is not None and packed.isdigit() else 0.0


def conditional(snapshot: Snapshot, version: str, answer: Callable[[], Response]) -> Response:
    """Answer 304 to a client that has this version already, and what `answer` makes to any other.

    Compares weakly (RFC 9110 section 13.1.2): a proxy that compresses weakens the tag. `answer` is not called for a
    304, so nothing is decoded.
    """
    tag = f'"{version}"'
    if _is_known(tag):
        # Without decoding only the record tells that the task is done; a client that knows it asks no more.
        headers = [("Cache-Control", LIVE), ("Retry-After", str(poll_after_seconds(snapshot.record, time.time())))]
        if snapshot.record.get(b"final") == b"1":
            headers = [("Cache-Control", KEPT)]
        # Flask looks for a type, at some cost if there is none, and does not send it with a 304.
        response = Response(status=304, headers=[*headers, JSON])
    else:
        response = answer()
    response.headers.add("ETag", tag)
    return response


def _is_known(tag: str) -> bool:
    """Tell whether the client has this tag; what most send, the one tag that they were given, is not parsed."""
    sent = request.environ.get("HTTP_IF_NONE_MATCH")
    if sent is None or sent == tag:
        return sent is not None
    known = request.if_none_match
    return known.star_tag or known.contains_weak(tag.strip('"'))
