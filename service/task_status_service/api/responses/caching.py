"""How a client polls politely: when to ask again, and how to hear that nothing has changed."""

import hashlib
import http
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from flask import Response
from task_status_worker.record.codec import unpack_seconds
from werkzeug.http import parse_etags

from task_status_service.access.caller import Caller
from task_status_service.api.responses.bodies import KEPT, LIVE, Answer, answer_of, json_response
from task_status_service.status import Snapshot, TaskStatus
from task_status_service.use_cases.tracker import Tracker

#: age of the task up to which a client asks again after so many seconds, both in seconds
_STEPS: Final = ((10, 1), (60, 2), (600, 5))
_LAST_STEP_SECONDS: Final = 15

_KEPT: Final = [("Cache-Control", KEPT)]


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


def outcome_response(task: TaskStatus) -> Response:
    """Answer who has asked for something to happen: 202 and when to ask again, until it has."""
    if task.done:
        return json_response(task, http.HTTPStatus.OK, _KEPT)
    after = poll_status_after_seconds(task, time.time())
    return json_response(task, http.HTTPStatus.ACCEPTED, [("Cache-Control", LIVE), ("Retry-After", str(after))])


def _seconds(record: Mapping[bytes, bytes], field: bytes) -> float:
    return unpack_seconds(record.get(field)) or 0.0


def poll_answer(tracker: Tracker, snapshot: Snapshot, caller: Caller, if_none_match: str | None) -> Answer:
    """Answer one who polls with the status of what was read."""
    version = tracker.version(snapshot, caller)

    def answer() -> Answer:
        decoded = tracker.decoded(snapshot, caller, version)
        return answer_of(decoded.body, _KEPT if decoded.status.done else _live(snapshot))

    return conditional(snapshot, version, if_none_match, answer)


def conditional(snapshot: Snapshot, version: str, if_none_match: str | None, answer: Callable[[], Answer]) -> Answer:
    """Answer 304 to a client that has this version already, and what `answer` makes to any other.

    Compares weakly (RFC 9110 section 13.1.2): a proxy that compresses weakens the tag. `answer` is not called for a
    304, so nothing is decoded.
    """
    tag = f'"{version}"'
    if if_none_match is not None and _is_known(tag, if_none_match):
        # Without decoding only the record tells that the task is done; a client that knows it asks no more.
        cached = _KEPT if snapshot.record.get(b"final") == b"1" else _live(snapshot)
        return Answer(http.HTTPStatus.NOT_MODIFIED, [*cached, ("ETag", tag)], b"")
    made = answer()
    made.headers.append(("ETag", tag))
    return made


def live_answer(body: Any, if_none_match: str | None) -> Answer:
    """Answer anything that may change at any time, under a tag of its bytes; 304 to a client that has them already."""
    answer = answer_of(msgspec.json.encode(body), [("Cache-Control", LIVE)])
    tag = ("ETag", f'"{hashlib.blake2b(answer.body, digest_size=16).hexdigest()}"')
    if if_none_match is not None and _is_known(tag[1], if_none_match):
        return Answer(http.HTTPStatus.NOT_MODIFIED, [("Cache-Control", LIVE), tag], b"")
    answer.headers.append(tag)
    return answer


def _live(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [("Cache-Control", LIVE), ("Retry-After", str(poll_after_seconds(snapshot.record, time.time())))]


def _is_known(tag: str, if_none_match: str) -> bool:
    """Tell whether the client has this tag; what most send, the one tag that they were given, is not parsed."""
    if if_none_match == tag:
        return True
    known = parse_etags(if_none_match)
    return known.star_tag or known.contains_weak(tag.strip('"'))
