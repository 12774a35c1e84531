"""Celery as a sender: an app without task code and without result backend."""

from typing import Any, Final

from celery import Celery
from kombu.exceptions import KombuError

from task_status_service.errors import BrokerUnavailable
from task_status_service.tracker import Submission

#: No call waits longer than this for the broker, with the settings below.
SOCKET_SECONDS: Final = 1.0

_SETTINGS: Final[dict[str, Any]] = {
    # A result backend would be subscribed to before each send, and that waits 19 s when Redis refuses connections
    # (celery/app/base.py send_task, celery#6166). We read results ourselves.
    "result_backend": None,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": False,
    "enable_utc": True,
    # kombu's default socket timeout is None: a stalled Redis would hold a request for ever (celery#4296, #4627).
    "broker_transport_options": {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": SOCKET_SECONDS,
        "health_check_interval": 15,
    },
    "broker_connection_timeout": SOCKET_SECONDS,
    "broker_pool_limit": 64,
    # With none free, fail and do not wait for ever.
    "broker_pool_acquire_timeout": SOCKET_SECONDS,
    # `max_retries` 0 and not `retry=False`, which connects in steps of one second (6 s in all when refused).
    "task_publish_retry_policy": {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0},
}


class CeleryBroker:
    """Send tasks to the workers of any Celery app that reads this broker."""

    def __init__(self, url: str, *, default_queue: str) -> None:
        self._app = Celery("task-status", broker=url, set_as_current=False)
        self._app.conf.update(_SETTINGS, task_default_queue=default_queue)

    def send(self, task_id: str, submission: Submission, *, queue: str) -> None:
        """Send one message, once.

        Raises:
            BrokerUnavailable: it was not confirmed; it may or may not have been sent.
        """
        try:
            self._app.send_task(
                submission.name,
                args=submission.args,
                kwargs=submission.kwargs,
                task_id=task_id,
                eta=submission.scheduled_for,
                expires=submission.expires_at,
                queue=queue,
                priority=submission.priority,
            )
        except (KombuError, OSError) as error:
            # kombu reraises what its transports raise as its own OperationalError.
            raise BrokerUnavailable from error

    def check(self) -> None:
        """Open a connection and a channel, which every transport of kombu answers only when it is there.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        with self._app.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=SOCKET_SECONDS)
                connection.channel().close()
            except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
                raise BrokerUnavailable from error

    def close(self) -> None:
        """Close every connection."""
        self._app.close()
