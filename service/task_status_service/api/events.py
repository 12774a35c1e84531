"""Server-sent events: the statuses of tasks until all are done or the stream ends."""

import http
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from flask import Response, request

from task_status_service.access.caller import Caller, Scope
from task_status_service.api.auth.authentication import caller, still_allowed, watch_limits
from task_status_service.api.context import tracker, watcher
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.operations import OF_A_LONG_QUERY, OF_A_TASK, OF_READING, empty, named
from task_status_service.api.requests.options import checked_task_id, task_ids_of_query
from task_status_service.api.requests.parameters import (
    ACCESS_TOKEN_PARAMETER,
    LAST_EVENT_ID_PARAMETER,
    TASK_ID_PARAMETER,
    TASK_IDS_PARAMETER,
)
from task_status_service.errors import InvalidArguments, TooManyWatches
from task_status_service.status.cache import CachedStatus
from task_status_service.use_cases.watcher import StatusEvent

blueprint: Final = Blueprint("events", __name__, description="Watch tasks instead of polling.")

#: milliseconds after which a client reconnects
_RETRY: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": still here\n\n"
#: characters of each version in the event id of a stream of several tasks; enough to detect a change
_SHORT_VERSION: Final = 8

_STREAM: Final[dict[str, Any]] = {
    "description": (
        "`event: status`, `id:` the version, `data:` a TaskStatus: first the current one, finally one with "
        "`done: true`. The server sends a comment at least every 15 seconds. A stream ends after ten minutes, or when "
        "the server stops: reconnect with `Last-Event-ID`."
    ),
    "content": {"text/event-stream": {"schema": {}, "examples": named("events")}},
}


@blueprint.route("/tasks/<task_id>/events", methods=["GET"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="watchTask",
    parameters=[LAST_EVENT_ID_PARAMETER, ACCESS_TOKEN_PARAMETER],
    responses={
        200: _STREAM,
        204: empty("The task is done, and `Last-Event-ID` is its last event: do not reconnect."),
    },
    problems=(*OF_A_TASK, TooManyWatches, *OF_READING),
)
def watch_task(task_id: str) -> Response:
    """Watch a task until it is done.

    For `EventSource` in a browser, send a task token as `access_token`. A slow client receives the latest status and
    skips intermediate ones.
    """
    checked_task_id(task_id)
    last = request.headers.get("Last-Event-ID", "")
    tasks, who = tracker(), caller()
    return _answer([task_id], who, lambda: [tasks.status(task_id, who)], {task_id: last}, _version_of_one)


@blueprint.route("/events", methods=["GET"], scope=Scope.READ)
@blueprint.doc(
    operationId="watchTasks",
    parameters=[TASK_IDS_PARAMETER, LAST_EVENT_ID_PARAMETER],
    responses={
        200: _STREAM,
        204: empty("All tasks are done, and `Last-Event-ID` is the last event: do not reconnect."),
    },
    problems=(InvalidArguments, *OF_A_LONG_QUERY, TooManyWatches, *OF_READING),
)
def watch_tasks() -> Response:
    """Watch up to 100 tasks in one stream.

    The stream ends when all are done. Returns 422 if any id is unknown or belongs to another owner.
    """
    task_ids = task_ids_of_query()
    last = request.headers.get("Last-Event-ID", "").split(".")
    known = dict(zip(task_ids, last, strict=False)) if len(last) == len(task_ids) else {}
    who = caller()
    return _answer(task_ids, who, lambda: watcher().read(task_ids, who), known, _versions_of_many)


def _version_of_one(task_ids: Sequence[str], versions: Mapping[str, str]) -> str:
    return versions[task_ids[0]]


def _versions_of_many(task_ids: Sequence[str], versions: Mapping[str, str]) -> str:
    """Return the versions of all tasks in the order of the request, so that no version is sent twice."""
    return ".".join(versions.get(task_id, "")[:_SHORT_VERSION] for task_id in task_ids)


def _answer(
    task_ids: Sequence[str],
    who: Caller,
    read: Callable[[], list[CachedStatus]],
    known: Mapping[str, str],
    event_id: Callable[[Sequence[str], Mapping[str, str]], str],
) -> Response:
    """Start a watch, read the tasks, and stream them; close the watch at the end or when the client disconnects."""
    watch = watcher().watch(task_ids, limits=watch_limits())
    try:
        decoded = read()
        nothing_to_come = watcher().is_at_end(decoded, known)
    except BaseException:
        watch.close()
        raise
    if nothing_to_come:
        watch.close()
        return Response(status=http.HTTPStatus.NO_CONTENT)
    seen = watcher().stream(watch, decoded, known, who)
    response = Response(_encoded(seen, task_ids, event_id, still_allowed()), content_type="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    # nginx would buffer the events.
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(watch.close)
    return response


def _encoded(
    seen: Iterator[StatusEvent | None],
    task_ids: Sequence[str],
    event_id: Callable[[Sequence[str], Mapping[str, str]], str],
    is_allowed: Callable[[], bool],
) -> Iterator[bytes]:
    yield _RETRY
    for item in seen:
        # The key or token may have expired since the last event.
        if not is_allowed():
            return
        if item is None:
            yield _HEARTBEAT
        else:
            name = event_id(task_ids, item.versions).encode()
            yield b"event: status\nid: %s\ndata: %s\n\n" % (name, item.decoded.body)
