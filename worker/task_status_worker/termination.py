"""Kill the runs of this worker whose cancel says so, if Celery's own command to do it was lost."""

import logging
from typing import Any

from celery.concurrency.base import BasePool
from celery.worker import state

from task_status_worker.recorder import Recorder

logger = logging.getLogger(__name__)


def terminate_canceled(consumer: Any, recorder: Recorder) -> None:
    """Ask for the flags of what this worker runs, in one trip, and have terminated what is to be.

    May be called in any thread. Nothing happens on pools that cannot terminate: solo and threads.
    """
    if not _can_terminate(consumer.pool):
        return
    # A copy made at once: the main thread goes on adding and removing.
    active = [request for request in list(state.requests.values()) if request in state.active_requests]
    flags = recorder.flags([request.id for request in active]) if active else None
    for request, flag in zip(active, flags or (), strict=False):
        if flag.cancel_requested and flag.terminate and not flag.final:
            # By the main loop, which alone may acknowledge messages.
            consumer.call_soon(_terminate, request, consumer.pool)


def _can_terminate(pool: Any) -> bool:
    return getattr(pool.terminate_job, "__func__", None) is not BasePool.terminate_job


def _terminate(request: Any, pool: Any) -> None:
    if request not in state.active_requests:
        return  # it has ended meanwhile
    logger.info("Terminating task %s[%s]: its cancel says so", request.name, request.id)
    try:
        request.terminate(pool)
    except Exception:
        # The main loop would end with it.
        logger.exception("task %s[%s] could not be terminated", request.name, request.id)
