"""Completes cancels in a worker: terminates executions, and stores the end of tasks that wait for their time."""

import logging
import weakref
from typing import Any, Final

import celery
from celery.concurrency.base import BasePool
from celery.worker import state

from task_status_worker.recorder import Recorder

logger = logging.getLogger(__name__)

#: whether the revoke command stores REVOKED; before Celery 5.6 a scheduled task keeps its state until it is due
#: (celery/worker/control.py, _revoke)
_REVOKE_STORES: Final = (celery.VERSION.major, celery.VERSION.minor) >= (5, 6)
#: scheduled requests whose REVOKED is stored
_stored: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def terminate_canceled(consumer: Any, recorder: Recorder) -> None:
    """Terminate each execution of this worker whose cancel requests it; reads all flags in one trip.

    Safe in any thread. Does nothing on pools that cannot terminate: solo and threads.
    """
    if not _can_terminate(consumer.pool):
        return
    # A copy, because the main thread adds and removes requests meanwhile.
    active = [request for request in list(state.requests.values()) if request in state.active_requests]
    flags = recorder.flags([request.id for request in active]) if active else None
    for request, flag in zip(active, flags or (), strict=False):
        if flag.cancel_requested and flag.terminate and not flag.final:
            # In the main loop, because only that may acknowledge messages.
            consumer.call_soon(_terminate, request, consumer.pool)


def store_revoked(consumer: Any) -> None:
    """Store REVOKED for the revoked tasks that this worker holds until they are due."""
    if _REVOKE_STORES or not state.revoked:
        return
    # A copy, because the main thread adds and removes entries meanwhile.
    for scheduled in list(consumer.timer.schedule.queue):
        for request in scheduled.entry.args:
            if getattr(request, "id", None) in state.revoked and request not in _stored:
                consumer.app.backend.mark_as_revoked(request.id, reason="revoked")
                _stored.add(request)


def _can_terminate(pool: Any) -> bool:
    return getattr(pool.terminate_job, "__func__", None) is not BasePool.terminate_job


def _terminate(request: Any, pool: Any) -> None:
    if request not in state.active_requests:
        return  # has ended meanwhile
    logger.info("Terminating task %s[%s]: its cancel requests it", request.name, request.id)
    try:
        request.terminate(pool)
    except Exception:
        # An error would end the main loop.
        logger.exception("Cannot terminate task %s[%s]; the next heartbeat tries again", request.name, request.id)
