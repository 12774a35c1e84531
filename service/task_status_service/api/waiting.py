"""Waiting requests: until a task is done, or has a version that the client does not know."""

from collections.abc import Container
from typing import Final

from flask import request

from task_status_service.api.auth.authentication import caller, watch_limits
from task_status_service.api.context import tracker, watcher
from task_status_service.api.requests.options import WaitPreference, if_none_match
from task_status_service.api.responses.caching import known_versions
from task_status_service.errors import TaskNotFound, TooManyWatches, Unavailable
from task_status_service.status import TaskStatus
from task_status_service.use_cases.tracker import CurrentStatus, NotModified

#: key of the WSGI environ: a callable of the server that returns whether the client has closed its connection
IS_GONE: Final = "task_status.is_gone"


def read_status(task_id: str, preference: WaitPreference) -> CurrentStatus | NotModified:
    """Read the status of a task after the wait that the client asks for.

    The wait is skipped if too many requests wait already.
    """
    known = known_versions(if_none_match())
    if preference.seconds:
        try:
            return _wait(task_id, preference, known)
        except TooManyWatches:
            pass
    return tracker().status_of(task_id, caller(), known)


def wait_for_submitted(task: TaskStatus, preference: WaitPreference) -> TaskStatus:
    """Wait until a submitted task is done; return the given status if the wait fails, because it is accepted."""
    if not preference.seconds:
        return task
    try:
        found = _wait(task.id, preference, None)
    except (TooManyWatches, TaskNotFound, Unavailable):
        return task
    return found.cached.status if isinstance(found, CurrentStatus) else task


def _wait(task_id: str, preference: WaitPreference, known: Container[str] | None) -> CurrentStatus | NotModified:
    return watcher().wait(
        task_id,
        preference.seconds,
        caller(),
        limits=watch_limits(),
        known=known,
        is_gone=request.environ.get(IS_GONE, _never),
    )


def _never() -> bool:
    """Return false: a server without the callable does not know whether a client is gone."""
    return False
