"""Celery as a sender: an app without task code and without result backend."""

from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from celery import Celery
from kombu.exceptions import KombuError

from task_status_service.errors import BrokerUnavailable
from task_status_service.use_cases.submission import Submission

#: No call waits longer than this for the broker, with the settings below.
SOCKET_SECONDS: Final = 1.0

#: `max_retries` 0 and not `retry=False`, which connects in steps of one second (6 s in all when refused).
_PUBLISH_POLICY: Final = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}

#: kombu's default socket timeout is None: a stalled Redis would hold a request for ever (celery#4296, #4627)
_REDIS_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": SOCKET_SECONDS,
    "socket_connect_timeout": SOCKET_SECONDS,
    "health_check_interval": 15,
}
#: the same for RabbitMQ, which confirms what it has taken. A send that stalls waits three times: for the confirmation,
#: and to close the channel and the connection
_AMQP_OPTIONS: Final[dict[str, Any]] = {
    "read_timeout": SOCKET_SECONDS / 2,
    "write_timeout": SOCKET_SECONDS / 2,
    "confirm_publish": True,
}

_SETTINGS: Final[dict[str, Any]] = {
    # A result backend would be subscribed to before each send, and that waits 19 s when Redis refuses connections
    # (celery/app/base.py send_task, celery#6166). We read results ourselves.
    "result_backend": None,
    # Nor is one made, to do nothing, in every thread.
    "result_backend_thread_safe": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": False,
    "enable_utc": True,
    "broker_connection_timeout": SOCKET_SECONDS,
    "broker_pool_limit": 64,
    # With none free, fail and do not wait for ever.
    "broker_pool_acquire_timeout": SOCKET_SECONDS,
    "task_publish_retry_policy": _PUBLISH_POLICY,
}

#: names of queues that are remembered; clients may make up as many as they like
_MAX_DECLARED: Final = 1_000


class CeleryBroker:
    """Send tasks to the workers of any Celery app that reads this broker."""

    def __init__(self, url: str, *, default_queue: str, sentinel_master: str = "") -> None:
        self._app = Celery("task-status", broker=_as_kombu_writes(url), set_as_current=False)
        options = dict(_AMQP_OPTIONS if url.startswith("amqp") else _REDIS_OPTIONS)
        if url.startswith("sentinel:"):
            options["master_name"] = sentinel_master
        #: kombu takes as long to see that a queue is declared as to send
        self._declared: set[str] = set()
        self._app.conf.update(_SETTINGS, task_default_queue=default_queue, broker_transport_options=options)

    def send(self, task_id: str, submission: Submission, *, queue: str, retries: int = 0) -> None:
        """Send one message, once; `retries` says how often the task was tried before.

        Raises:
            BrokerUnavailable: it was not confirmed; it may or may not have been sent.
        """
        call = submission.call
        try:
            self._app.send_task(
                call.name,
                args=call.args,
                kwargs=call.kwargs,
                task_id=task_id,
                eta=submission.scheduled_for,
                expires=submission.expires_at,
                queue=queue,
                priority=call.priority,
                retries=retries,
                declare=() if queue in self._declared else None,
            )
            self._remember_declared(queue)
        except (KombuError, OSError) as error:
            # The broker may have lost its queues.
            self._declared.clear()
            # kombu reraises what its transports raise as its own OperationalError.
            raise BrokerUnavailable from error

    def _remember_declared(self, queue: str) -> None:
        if len(self._declared) >= _MAX_DECLARED:
            self._declared.clear()
        self._declared.add(queue)

    def cancel(self, task_id: str, *, terminate: bool, worker: str | None) -> None:
        """Broadcast Celery's `revoke`, once, and wait for no reply; with `worker` only that one obeys.

        By hand: `app.control.revoke` publishes without a retry policy, which is to try for ever (kombu/pidbox.py,
        Mailbox._publish).

        Raises:
            BrokerUnavailable: it was not confirmed.
        """
        exchange = self._app.control.mailbox.exchange
        message = {
            "method": "revoke",
            "arguments": {"task_id": task_id, "terminate": terminate},
            "destination": [worker] if worker else None,
        }
        try:
            with self._app.producer_or_acquire() as producer:
                producer.publish(
                    message,
                    exchange=exchange.name,
                    declare=[exchange],
                    headers={"clock": self._app.clock.forward(), "expires": 0},
                    serializer="json",
                    retry=True,
                    retry_policy=_PUBLISH_POLICY,
                )
        except (KombuError, OSError) as error:
            raise BrokerUnavailable from error

    def waiting(self, queue: str) -> int:
        """Count the messages of a queue that no worker has taken; 0 if there is no such queue.

        Raises:
            BrokerUnavailable: it does not answer.
        """
        with self._app.connection_for_write() as connection:
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, timeout=SOCKET_SECONDS)
                return int(connection.channel().queue_declare(queue, passive=True).message_count)
            except connection.channel_errors as error:
                if "NOT_FOUND" in str(error):
                    return 0
                raise BrokerUnavailable from error
            except (KombuError, OSError, *connection.connection_errors) as error:
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


def _as_kombu_writes(url: str) -> str:
    """Turn the URL of a Unix socket, as redis-py writes it, into kombu's."""
    if not url.startswith("unix://"):
        return url
    address, _, given = url.removeprefix("unix://").partition("?")
    query = dict(parse_qsl(given))
    if "db" in query:
        query["virtual_host"] = query.pop("db")
    return f"redis+socket://{address}?{urlencode(query)}"
