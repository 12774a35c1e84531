"""The Request class of the kit, in the worker's main process."""

import logging
from typing import Any

from celery.worker import state
from kombu.transport import virtual

from task_status_worker.registry import kit_that_records

logger = logging.getLogger(__name__)


class StatusRequest:
    """Come before the request class that a task names."""

    __slots__ = ()

    def revoked(self) -> bool:
        """Say whether the task is not to run, as its record says it, or else Celery.

        Celery asks just before it hands the task to the pool, and when it receives one that has expired or that it was
        told to revoke (celery/worker/strategy.py), which must not be stored over a recorded end.
        """
        request: Any = self
        goes_to_the_pool = request in state.reserved_requests
        if not request._already_revoked and (goes_to_the_pool or self._is_to_be_dropped()):  # noqa: SLF001  # below
            self._obey_the_record()
        return bool(super().revoked())  # type: ignore[misc]  # Celery's, below this one

    def _is_to_be_dropped(self) -> bool:
        request: Any = self
        return request.id in state.revoked or bool(request.maybe_expire())

    def _obey_the_record(self) -> None:
        request: Any = self
        kit = kit_that_records(request.app, request.type)
        flags = kit.recorder.flags([request.id]) if kit is not None else None
        if not flags:
            return
        if flags[0].final:
            logger.info("Dropping the message of task %s[%s]: it has ended", request.name, request.id)
            state.task_ready(request)
            request.acknowledge()
            # What Celery asks first, and then stores and announces nothing.
            request._already_revoked = True  # noqa: SLF001  # as above
        elif flags[0].cancel_requested:
            state.revoked.add(request.id)

    def acknowledge(self) -> None:
        """Acknowledge, and free the place of the message also where the broker does not hear of it."""
        super().acknowledge()  # type: ignore[misc]  # Celery's, below this one
        self._free_place()

    def reject(self, requeue: bool = False) -> None:
        """Reject, and free the place of the message also where the broker does not hear of it."""
        super().reject(requeue)  # type: ignore[misc]  # Celery's, below this one
        self._free_place()

    def _free_place(self) -> None:
        """Count a message no more that could not be acknowledged.

        kombu logs the error and goes on counting it (kombu/message.py, ack_log_error; transport/redis.py, QoS.ack). As
        many of these as the worker may hold, and it takes no message any more, without a word (celery#8030). The broker
        delivers such a message again after its visibility timeout, and then the record says whether it has ended.
        """
        request: Any = self
        message = request.message
        qos = getattr(message.channel, "_qos", None)
        if not message.acknowledged and isinstance(qos, virtual.QoS):
            # That of the base class, which tells nobody.
            virtual.QoS.ack(qos, message.delivery_tag)  # type: ignore[no-untyped-call]

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Let the receivers of task_failure see the request, as they do for every other failure.

        Celery sends the signal for a hard time limit without it (celery/worker/request.py, on_timeout, compare
        on_failure), so that nobody could say which attempt was killed.
        """
        request: Any = self
        request.task.request_stack.push(request._context)  # noqa: SLF001  # as on_failure does
        try:
            super().on_timeout(soft, timeout)  # type: ignore[misc]  # Celery's, below this one
        finally:
            request.task.request_stack.pop()
