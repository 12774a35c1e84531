"""The sender of Celery messages: an app without task code and without a result backend."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from celery import Celery
from kombu.exceptions import KombuError
from task_status_worker.record.connection import sentinel_of
from task_status_worker.record.sentinel import Address, MasterUnknown

from task_status_service.errors import BrokerUnavailable, StoreFull, Unavailable
from task_status_service.use_cases.submission import Submission

#: With the settings below, no call waits longer than this for the broker.
SOCKET_SECONDS: Final = 1.0

#: `max_retries` 0, because `retry=False` connects in steps of one second: 6 s in all if connections are refused.
_PUBLISH_POLICY: Final = {"max_retries": 0, "interval_start": 0, "interval_step": 0, "interval_max": 0}

#: kombu's default socket timeout is None: a stalled Redis would hold a request forever (celery#4296, #4627)
_REDIS_OPTIONS: Final[dict[str, Any]] = {
    "socket_timeout": SOCKET_SECONDS,
    "socket_connect_timeout": SOCKET_SECONDS,
    "health_check_interval": 15,
}
#: the same for RabbitMQ, which confirms each message. A stalled send waits three times: for the confirmation, and to
#: close the channel and the connection
_AMQP_OPTIONS: Final[dict[str, Any]] = {
    "read_timeout": SOCKET_SECONDS / 2,
    "write_timeout": SOCKET_SECONDS / 2,
    "confirm_publish": True,
}

_SETTINGS: Final[dict[str, Any]] = {
    # Before each send, Celery would subscribe to a result backend, and wait 19 s if Redis refuses connections
    # (celery/app/base.py send_task, celery#6166). The store reads results without it.
    "result_backend": None,
    # Otherwise Celery would create a disabled backend in every thread.
    "result_backend_thread_safe": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_ignore_result": False,
    "enable_utc": True,
    "broker_connection_timeout": SOCKET_SECONDS,
    "broker_pool_limit": 64,
    # Without a free connection, fail instead of waiting forever.
    "broker_pool_acquire_timeout": SOCKET_SECONDS,
    "task_publish_retry_policy": _PUBLISH_POLICY,
}

#: part of the error of Redis and Valkey; redis-py removes its code OOM, and kombu keeps the text only
_OUT_OF_MEMORY: Final = "command not allowed when used memory"

#: limit of the queue names in memory, because clients may invent names
_MAX_DECLARED: Final = 1_000


class CeleryBroker:
    """A sender of tasks to the workers of any Celery app on this broker."""

    def __init__(self, url: str, *, default_queue: str, sentinel_master: str = "") -> None:
        self._default_queue = default_queue
        self._sentinel = sentinel_of(url) if url.startswith("sentinel:") else None
        self._master = (
            self._sentinel.master(sentinel_master, timeout_seconds=SOCKET_SECONDS) if self._sentinel else None
        )
        #: the master to which `_app` is connected
        self._address: Address | None = None
        #: queues that are not declared again: for kombu, a declaration takes as long as a send
        self._declared: set[str] = set()
        self._replacing = threading.Lock()
        #: the connection of `check`, and its app
        self._checking = threading.Lock()
        self._checked: Any = None
        self._checked_app: Celery | None = None
        self._current_app = self._app_of(_kombu_url(url))

    def _app_of(self, url: str) -> Celery:
        app = Celery("task-status", broker=url, set_as_current=False)
        options = dict(_AMQP_OPTIONS if url.startswith("amqp") else _REDIS_OPTIONS)
        app.conf.update(_SETTINGS, task_default_queue=self._default_queue, broker_transport_options=options)
        return app

    @property
    def _app(self) -> Celery:
        """The app for the present master; another one than before closes its connections.

        kombu's transport for Sentinel is not used: it asks Sentinel only when it connects, and only the first one that
        answers, which learns of a failover up to two seconds late.

        Raises:
            BrokerUnavailable: no Sentinel names a master, or a failover is in progress.
        """
        if self._master is None or self._sentinel is None:
            return self._current_app
        try:
            address = self._master.address()
        except MasterUnknown as error:
            raise BrokerUnavailable from error
        with self._replacing:
            if address != self._address:
                if self._address is not None:
                    # False, because kombu would reuse the closed pool after a return to this address.
                    self._current_app.pool.force_close_all(close_pool=False)
                self._current_app.close()
                host, port = address
                server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                self._current_app = self._app_of(f"redis://{self._sentinel.user_info}{server}/{self._sentinel.db}")
                self._address = address
                self._declared.clear()
        return self._current_app

    def send(self, task_id: str, submission: Submission, *, queue: str, retries: int = 0) -> None:
        """Send one message, once; `retries` is the number of earlier attempts.

        Raises:
            StoreFull: Redis is out of memory; the message was not sent.
            BrokerUnavailable: the message was not confirmed; it may or may not have been sent.
        """
        call = submission.call
        app = self._app
        try:
            with self._closed_by_failover(app):
                app.send_task(
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
            raise _named(error) from error

    @contextlib.contextmanager
    def _closed_by_failover(self, app: Celery) -> Iterator[None]:
        """Convert any error of an app that was replaced meanwhile: closed connections raise ValueError and others."""
        try:
            yield
        except Exception as error:
            if app is self._current_app or isinstance(error, (KombuError, OSError)):
                raise
            raise BrokerUnavailable from error

    def _remember_declared(self, queue: str) -> None:
        if len(self._declared) >= _MAX_DECLARED:
            self._declared.clear()
        self._declared.add(queue)

    def cancel(self, task_id: str, *, terminate: bool, worker: str | None) -> None:
        """Broadcast Celery's `revoke`, once, and wait for no reply; `worker` limits it to one worker.

        Not by `app.control.revoke`, which publishes without a retry policy and so retries forever (kombu/pidbox.py,
        Mailbox._publish).

        Raises:
            BrokerUnavailable: the message was not confirmed.
        """
        app = self._app
        exchange = app.control.mailbox.exchange
        message = {
            "method": "revoke",
            "arguments": {"task_id": task_id, "terminate": terminate},
            "destination": [worker] if worker else None,
        }
        try:
            with self._closed_by_failover(app), app.producer_or_acquire() as producer:
                producer.publish(
                    message,
                    exchange=exchange.name,
                    declare=[exchange],
                    headers={"clock": app.clock.forward(), "expires": 0},
                    serializer="json",
                    retry=True,
                    retry_policy=_PUBLISH_POLICY,
                )
        except (KombuError, OSError) as error:
            raise BrokerUnavailable from error

    def waiting(self, queue: str) -> int:
        """Return the number of messages in a queue that no worker has taken; 0 for an unknown queue.

        Raises:
            BrokerUnavailable: the broker does not answer.
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
        """Check that the broker answers, over a connection that is kept for the next check.

        Raises:
            BrokerUnavailable: the broker does not answer.
        """
        app = self._app
        with self._checking:
            if self._checked_app is not app:
                self._close_checked()
            # Only a kept connection that fails at once is tried again: the broker may have restarted meanwhile.
            for is_last in (False, True) if self._checked else (True,):
                if self._checked is None:
                    self._checked, self._checked_app = app.connection_for_write(), app
                connection, began = self._checked, time.monotonic()
                try:
                    _ask(connection)
                except (KombuError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
                    self._close_checked()
                    if is_last or time.monotonic() - began > SOCKET_SECONDS / 2:
                        raise BrokerUnavailable from error
                else:
                    return

    def _close_checked(self) -> None:
        connection, self._checked = self._checked, None
        if connection is not None:
            with contextlib.suppress(KombuError, OSError, *connection.connection_errors, *connection.channel_errors):
                connection.close()

    def close(self) -> None:
        """Close every connection."""
        self._close_checked()
        self._current_app.close()


def _ask(connection: Any) -> None:
    """Require an answer of the broker; kombu's Redis channels open a connection each, so one is kept."""
    connection.ensure_connection(max_retries=1, interval_start=0, timeout=SOCKET_SECONDS)
    client = getattr(connection.default_channel, "client", None)
    if client is not None:
        client.ping()
    else:
        connection.channel().close()


def _named(error: Exception) -> Unavailable:
    """Return the error of this service for an error of kombu, which converts those of its transports to its own."""
    return StoreFull() if _OUT_OF_MEMORY in str(error) else BrokerUnavailable()


def _kombu_url(url: str) -> str:
    """Convert the URL of a Unix socket from the form of redis-py to that of kombu; return other URLs unchanged."""
    if not url.startswith("unix://"):
        return url
    address, _, parameters = url.removeprefix("unix://").partition("?")
    query = dict(parse_qsl(parameters))
    if "db" in query:
        query["virtual_host"] = query.pop("db")
    return f"redis+socket://{address}?{urlencode(query)}"
