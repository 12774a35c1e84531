"""A failed acknowledgement does not block the worker."""

from collections.abc import Callable
from pathlib import Path

import pytest
from celery import Celery
from celery.worker.request import Request
from support.servers import running_redis
from task_status_worker.request import StatusRequest


class SomeRequest(StatusRequest, Request):
    """A request of the worker, with the kit's class before Celery's."""


def run() -> None:
    """Do nothing."""


@pytest.mark.parametrize("act", [SomeRequest.acknowledge, lambda request: request.reject(requeue=True)])
def test_a_failed_acknowledgement_frees_the_prefetch_slot(tmp_path: Path, act: Callable[[SomeRequest], None]) -> None:
    """With Redis killed before the acknowledgement, the prefetch slot is free for the next message."""
    with running_redis(tmp_path) as server:
        app = Celery(broker=server.url, set_as_current=False)
        app.conf.broker_transport_options = {"socket_timeout": 0.2, "socket_connect_timeout": 0.2}
        app.task(name="some.task")(run).apply_async()
        with app.connection_for_read() as connection:
            channel = connection.channel()
            channel.basic_qos(0, 1, False)
            message = channel.basic_get("celery")
            assert not channel.qos.can_consume()
            request = SomeRequest(
                message,
                app=app,
                on_ack=message.ack_log_error,
                on_reject=message.reject_log_error,
                connection_errors=connection.connection_errors,
            )
            server.stop()
            act(request)

            assert not message.acknowledged
            assert channel.qos.can_consume()
            # Otherwise kombu waits for Redis to return them.
            channel.qos._delivered.clear()  # noqa: SLF001
