"""How a client polls politely: when to ask again, and how to hear that nothing has changed."""

import math
import time
from collections.abc import Callable, Mapping
from typing import Final

from flask import Response, request

from task_status_service.api.answers import KEPT, LIVE
from task_status_service.status import Snapshot

#: age of the task up to which a client asks again after so many seconds, both in seconds
_STEPS: Final = ((10, 1), (60, 2), (600, 5))
_LAST_STEP_SECONDS: Final = 15


def poll_after_seconds(record: Mapping[bytes, bytes], now: float) -> int:
    """Say when to ask again about a task that is not done: quick at first, longer with age.

    What waits for its time, scheduled or to be tried again, is worth a look when that has come. Reads the packed
    record, so that a 304 needs no decoding; without one the task's age is not known. `now` in seconds since the epoch.
    """
    waits_seconds = max(_seconds(record, b"scheduled_for"), _seconds(record, b"next_retry_at")) - now
    if waits_seconds > 0:
        return math.ceil(waits_seconds)
    began = max(_seconds(record, b"submitted_at"), _seconds(record, b"started_at"))
    age_seconds = now - began if began else 0
    return next((step for limit, step in _STEPS if age_seconds < limit), _LAST_STEP_SECONDS)


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    packed = record.get(field, b"0")
    return int(packed[:15]) / 1_000 if packed.isdigit() else 0.0


def conditional(snapshot: Snapshot, version: str, answer: Callable[[], Response]) -> Response:
    """Answer 304 to a client that has this version already, and what `answer` makes to any other.

    Compares weakly (RFC 9110 section 13.1.2): a proxy that compresses weakens the tag. `answer` is not called for a
    304, so nothing is decoded.
    """
    known = request.if_none_match
    if known.star_tag or known.contains_weak(version):
        # Without decoding only the record tells that the task is done; a client that knows it asks no more.
        is_final = snapshot.record.get(b"final") == b"1"
        response = Response(status=304)
        response.headers["Cache-Control"] = KEPT if is_final else LIVE
        if not is_final:
            response.headers["Retry-After"] = str(poll_after_seconds(snapshot.record, time.time()))
    else:
        response = answer()
    response.set_etag(version)
    return response
