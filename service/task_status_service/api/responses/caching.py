"""Polling: the interval in `Retry-After`, and conditional requests (RFC 9110)."""

import hashlib
import http
import math
import re
import time
from collections.abc import Container
from typing import Any, Final

import msgspec
from flask import Response
from werkzeug.datastructures import ETags
from werkzeug.http import parse_etags

from task_status_service.api.responses.bodies import KEPT, LIVE, Answer, answer_of, json_response, result_answer
from task_status_service.status import PollTimes, Snapshot, TaskStatus
from task_status_service.use_cases.tracker import CurrentStatus, NotModified, TaskResult

#: (age of the task, pause between two polls), both in seconds: the pause holds up to this age
_STEPS: Final = ((10, 1), (60, 2), (600, 5))
_LAST_STEP_SECONDS: Final = 15

_KEPT: Final = [("Cache-Control", KEPT)]
#: a version is 16 bytes of a digest in hexadecimal (status/cache.py)
_ONE_TAG: Final = re.compile(r'"([0-9a-f]{32})"')


def poll_after_seconds(times: PollTimes, now: float) -> int:
    """Return the seconds until the next poll of an unfinished task; they increase with its age.

    A scheduled task, or one that waits for a retry, is polled at that time, unless a cancel is requested. A task of
    unknown age is treated as new. `now` is in seconds since the epoch.
    """
    if not times.cancel_requested:
        waits_seconds = max(times.scheduled_for, times.next_retry_at) - now
        if waits_seconds > 0:
            return math.ceil(waits_seconds)
    began = max(times.submitted_at, times.started_at)
    age_seconds = now - began if began else 0
    return next((step for limit, step in _STEPS if age_seconds < limit), _LAST_STEP_SECONDS)


def outcome_response(task: TaskStatus) -> Response:
    """Return the response to a request for a change: 200 if the task is done, else 202 with `Retry-After`."""
    if task.done:
        return json_response(task, http.HTTPStatus.OK, _KEPT)
    return json_response(task, http.HTTPStatus.ACCEPTED, _live(task.poll_times))


class _KnownVersions(Container[str]):
    """The versions of an `If-None-Match` header.

    The comparison is weak (RFC 9110 section 13.1.2): a proxy that compresses a response weakens its tag.
    """

    def __init__(self, etags: ETags) -> None:
        self._etags = etags

    def __contains__(self, version: object) -> bool:
        return self._etags.star_tag or self._etags.contains_weak(str(version))


def known_versions(if_none_match: str | None) -> Container[str] | None:
    """Return the versions that a client names in `If-None-Match`; None if it names none."""
    if not if_none_match:
        return None
    # Most clients send the one tag that they received: parsing it in full takes longer than the rest of a 304.
    one = _ONE_TAG.fullmatch(if_none_match)
    return (one[1],) if one else _KnownVersions(parse_etags(if_none_match))


def status_answer(found: CurrentStatus | NotModified) -> Answer:
    """Return the response to a poll: the status, or 304."""
    if isinstance(found, NotModified):
        return _not_modified(found)
    cached = found.cached
    answer = answer_of(cached.body, _KEPT if cached.status.done else _live(found.snapshot.poll_times))
    answer.headers.append(_etag(cached.version))
    return answer


def result_of_task_answer(found: TaskResult | NotModified) -> Answer:
    """Return the response with the result of a task, or 304."""
    if isinstance(found, NotModified):
        return _not_modified(found)
    answer = result_answer(found.value)
    answer.headers.append(_etag(found.version))
    return answer


def live_answer(body: Any, if_none_match: str | None) -> Answer:
    """Return a body that may change at any time, tagged by a hash of its bytes; 304 if the client has it."""
    answer = answer_of(msgspec.json.encode(body), [("Cache-Control", LIVE)])
    version = hashlib.blake2b(answer.body, digest_size=16).hexdigest()
    if version in (known_versions(if_none_match) or ()):
        return Answer(http.HTTPStatus.NOT_MODIFIED, [("Cache-Control", LIVE), _etag(version)], b"")
    answer.headers.append(_etag(version))
    return answer


def _not_modified(found: NotModified) -> Answer:
    # The meta is not decoded here: a task that is done only by its meta gets an unnecessary `Retry-After`.
    headers = _cached(found.snapshot)
    return Answer(http.HTTPStatus.NOT_MODIFIED, [*headers, _etag(found.version)], b"")


def _cached(snapshot: Snapshot) -> list[tuple[str, str]]:
    return _KEPT if snapshot.is_final else _live(snapshot.poll_times)


def _live(times: PollTimes) -> list[tuple[str, str]]:
    return [("Cache-Control", LIVE), ("Retry-After", str(poll_after_seconds(times, time.time())))]


def _etag(version: str) -> tuple[str, str]:
    return "ETag", f'"{version}"'
