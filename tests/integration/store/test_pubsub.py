"""One pub/sub connection to a real Redis; test_feed.py tests its use."""

import threading
import time

import pytest
from support.servers import RedisServer, wait_until
from task_status_service.store.pubsub import Subscriber
from task_status_service.store.records import connect_to


def test_a_late_confirmation_does_not_outlive_unsubscribing(redis_server: RedisServer) -> None:
    """An unsubscribed channel is unconfirmed, also if Redis confirms its subscription only afterwards."""
    subscriber = Subscriber(connect_to(redis_server.url, sentinel_master=""), lambda: ["first"], lambda _: None)
    threading.Thread(target=subscriber.run, daemon=True).start()
    subscriber.wait_confirmed(["first"], time.monotonic() + 10)
    with redis_server.client() as client:
        client.client_pause(300)
        subscriber.subscribe(["late"])
        subscriber.unsubscribe(["late"])
        subscriber.subscribe(["last"])
    subscriber.wait_confirmed(["last"], time.monotonic() + 10)

    deadline = time.monotonic() + 0.2
    subscriber.wait_confirmed(["late"], deadline)
    assert time.monotonic() >= deadline
    subscriber.close()


def test_an_unforeseen_error_is_logged_and_the_subscription_continues(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """An error of a message's handler is logged with its traceback, and the subscriber connects again."""
    received: list[str | None] = []

    def on_message(channel: str | None) -> None:
        received.append(channel)
        if len(received) == 1:
            raise ValueError("unforeseen")

    subscriber = Subscriber(connect_to(redis_server.url, sentinel_master=""), lambda: ["news"], on_message)
    threading.Thread(target=subscriber.run, daemon=True).start()
    subscriber.wait_confirmed(["news"], time.monotonic() + 10)
    with redis_server.client() as client:
        client.publish("news", "x")
        # None stands for the messages that may have been lost with the connection.
        wait_until(lambda: received == ["news", None], what="another connection")
        client.publish("news", "x")
        wait_until(lambda: received == ["news", None, "news"], what="a message over it")

    [record] = [record for record in caplog.records if record.exc_info]
    assert "Messages from Redis were not passed on" in record.getMessage()
    subscriber.close()
