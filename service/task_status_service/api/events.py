"""Server-sent events: the status of some tasks from now to their end, or to the end of the stream."""

import http
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from flask import Response, request

from task_status_service.access.caller import Caller, Scope
from task_status_service.api.auth.authentication import caller, limit_key, still_allowed
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

blueprint: Final = Blueprint("events", __name__, description="Watch tasks instead of asking again.")

#: when a client whose stream has ended comes back, in milliseconds
_RETRY: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": still here\n\n"
#: characters of a version in the id of an event about several tasks; enough to see that it is another one
_SHORT_VERSION: Final = 8

_STREAM: Final[dict[str, Any]] = {
    "description": (
        "`event: status`, `id:` the version, `data:` a TaskStatus, from the present one to the last, which has "
        "`done: true`. A comment comes at least every 15 seconds. Streams end after ten minutes, and when the server "
        "does: come back with `Last-Event-ID`."
    ),
    "content": {"text/event-stream": {"schema": {}, "examples": named("events")}},
}


@blueprint.route("/tasks/<task_id>/events", methods=["GET"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="watchTask",
    parameters=[LAST_EVENT_ID_PARAMETER, ACCESS_TOKEN_PARAMETER],
    responses={
        200: _STREAM,
        204: empty("The task is done, and `Last-Event-ID` is its last event: do not come back."),
    },
    problems=(*OF_A_TASK, TooManyWatches, *OF_READING),
)
def watch_task(task_id: str) -> Response:
    """Watch a task to its end.

    For `EventSource` in a browser, which takes a task token as `access_token`. Who reads slowly gets the latest status
    and not those in between.
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
        204: empty("All tasks are done, and `Last-Event-ID` is the last event: do not come back."),
    },
    problems=(InvalidArguments, *OF_A_LONG_QUERY, TooManyWatches, *OF_READING),
)
def watch_tasks() -> Response:
    """Watch up to 100 tasks in one stream.

    It ends when all are done. A task that is not there, or not this caller's, refuses them all.
    """
    task_ids = task_ids_of_query()
    last = request.headers.get("Last-Event-ID", "").split(".")
    known = dict(zip(task_ids, last, strict=False)) if len(last) == len(task_ids) else {}
    who = caller()
    return _answer(task_ids, who, lambda: watcher().read(task_ids, who), known, _versions_of_many)


def _version_of_one(task_ids: Sequence[str], versions: Mapping[str, str]) -> str:
    return versions[task_ids[0]]


def _versions_of_many(task_ids: Sequence[str], versions: Mapping[str, str]) -> str:
    """Name the versions of all tasks in the order in which they were asked for, so that none is sent twice."""
    return ".".join(versions.get(task_id, "")[:_SHORT_VERSION] for task_id in task_ids)


def _answer(
    task_ids: Sequence[str],
    who: Caller,
    read: Callable[[], list[CachedStatus]],
    known: Mapping[str, str],
    event_id: Callable[[Sequence[str], Mapping[str, str]], str],
) -> Response:
    """Take a place, read, and stream; the place is free again when the client goes away or nothing is to come."""
    watch = watcher().watch(task_ids, counted_as=limit_key())
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
    # nginx would collect the events.
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
        # Its key or token may have come to its end since.
        if not is_allowed():
            return
        if item is None:
            yield _HEARTBEAT
        else:
            name = event_id(task_ids, item.versions).encode()
            yield b"event: status\nid: %s\ndata: %s\n\n" % (name, item.decoded.body)
