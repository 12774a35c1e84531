"""The Request class of the kit, in the worker's main process."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from celery.exceptions import TimeLimitExceeded
from celery.worker import state
from kombu.transport import virtual

from task_status_worker.registry import kit_that_records
from task_status_worker.signals import on_failure

logger = logging.getLogger(__name__)


class StatusRequest:
    """The base class that the kit puts before the request class of each task."""

    __slots__ = ()

    def revoked(self, *args: Any, **kwargs: Any) -> bool:
        """Return whether the task must not run, by its record or else by Celery.

        Celery calls this just before it passes the task to the pool, and when it receives a task that has expired or
        is revoked (celery/worker/strategy.py). Those must not overwrite a recorded end.
        """
        request: Any = self
        goes_to_the_pool = request in state.reserved_requests
        if not request._already_revoked and (goes_to_the_pool or self._is_revoked_or_expired()):  # noqa: SLF001  # below
            self._apply_record()
        return bool(super().revoked(*args, **kwargs))  # type: ignore[misc]  # Celery's, below this one

    def _is_revoked_or_expired(self) -> bool:
        request: Any = self
        return request.id in state.revoked or bool(request.maybe_expire())

    def _apply_record(self) -> None:
        request: Any = self
        kit = kit_that_records(request.app, request.type)
        flags = kit.recorder.flags([request.id]) if kit is not None else None
        if not flags:
            return
        if flags[0].final:
            logger.info("Dropping the message of task %s[%s]: it has ended", request.name, request.id)
            state.task_ready(request)
            request.acknowledge()
            # Celery checks this first; then it stores nothing and sends no event.
            request._already_revoked = True  # noqa: SLF001  # as above
        elif flags[0].cancel_requested:
            state.revoked.add(request.id)

    def acknowledge(self, *args: Any, **kwargs: Any) -> None:
        """Acknowledge the message, and free its prefetch slot even if the broker is unreachable."""
        super().acknowledge(*args, **kwargs)  # type: ignore[misc]  # Celery's, below this one
        self._free_slot()

    def reject(self, *args: Any, **kwargs: Any) -> None:
        """Reject the message, and free its prefetch slot even if the broker is unreachable."""
        super().reject(*args, **kwargs)  # type: ignore[misc]  # Celery's, below this one
        self._free_slot()

    def _free_slot(self) -> None:
        """Free the prefetch slot of a message that could not be acknowledged.

        kombu logs the error and keeps the slot (kombu/message.py, ack_log_error; transport/redis.py, QoS.ack). Once all
        slots are lost, the worker silently stops receiving messages (celery#8030). The broker redelivers such a message
        after its visibility timeout, and then the record says whether its task has ended.
        """
        request: Any = self
        message = request.message
        qos = getattr(message.channel, "_qos", None)
        if not message.acknowledged and isinstance(qos, virtual.QoS):
            # The method of the base class, which does not contact the broker.
            virtual.QoS.ack(qos, message.delivery_tag)  # type: ignore[no-untyped-call]

    def on_failure(self, *args: Any, **kwargs: Any) -> None:
        """Make the request available to receivers of task_failure, as Celery does since 5.7."""
        with self._current():
            super().on_failure(*args, **kwargs)  # type: ignore[misc]  # Celery's, below this one

    def on_timeout(self, *args: Any, **kwargs: Any) -> None:
        """Make the request available to receivers of task_failure, and note a failure for which there is no signal.

        For a hard time limit Celery sends the signal without the request, and before 5.7 it sends none
        (celery/worker/request.py, on_timeout).
        """
        is_soft, seconds = args
        with self._current():
            super().on_timeout(*args, **kwargs)  # type: ignore[misc]  # Celery's, below this one
            request: Any = self
            if not is_soft and not state.should_terminate:
                on_failure(request.task, request.id, TimeLimitExceeded(seconds))

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make the context of this request `task.request`: receivers of signals must know which attempt has failed."""
        request: Any = self
        request.task.request_stack.push(request._context)  # noqa: SLF001  # as Celery 5.7 does
        try:
            yield
        finally:
            request.task.request_stack.pop()
