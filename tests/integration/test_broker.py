"""Sending through a real Redis: the content of the message, and the time until an outage raises an error."""

import base64
import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from celery import Celery
from support.fakes import MemoryBroker
from support.servers import RedisServer, free_port, running_redis, wait_until
from task_status_service.broker import CeleryBroker
from task_status_service.errors import BrokerUnavailable, StoreFull
from task_status_service.use_cases.submission import Call, Submission

SUBMISSION = Submission(call=Call(name="demo.add", args=[2, 3], kwargs={"z": {"deep": [None]}}))

#: the longest time that an API client waits, with a margin for the machine that runs the tests
BOUND_SECONDS = 2.0


@pytest.fixture
def broker(redis_url: str) -> Iterator[CeleryBroker]:
    """A broker on the session's Redis."""
    broker = CeleryBroker(redis_url, default_queue="celery")
    yield broker
    broker.close()


def messages(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Return the messages of a queue, which has one list per priority step (kombu, transport/redis.py)."""
    return [json.loads(text) for key in client.keys(f"{queue}*") for text in client.lrange(key, 0, -1)]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_sends_one_message(kind: str, broker: CeleryBroker, redis_url: str) -> None:
    """A send puts one message into the queue, in the fake broker and in the real one."""
    fake = MemoryBroker()
    used = fake if kind == "memory" else broker

    used.check()
    used.send("t-1", SUBMISSION, queue="sums")

    if kind == "memory":
        sent = [(task_id, submission.call.name, queue) for task_id, submission, queue in fake.sent]
    else:
        with redis.Redis.from_url(redis_url) as client:
            sent = [
                (message["headers"]["id"], message["headers"]["task"], "sums") for message in messages(client, "sums")
            ]
    assert sent == [("t-1", "demo.add", "sums")]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_an_unreachable_broker_raises(kind: str) -> None:
    """Sending, canceling and checking raise `BrokerUnavailable` if the broker is unreachable."""
    fake = MemoryBroker()
    fake.down = True
    real = CeleryBroker(f"redis://127.0.0.1:{free_port()}/0", default_queue="celery")
    used = fake if kind == "memory" else real

    for use in (
        used.check,
        lambda: used.send("t-1", SUBMISSION, queue="sums"),
        lambda: used.cancel("t-1", terminate=False, worker=None),
    ):
        with pytest.raises(BrokerUnavailable):
            use()
    real.close()


def test_the_message_contains_the_submission(broker: CeleryBroker, redis_url: str) -> None:
    """The message contains the submitted call and times, and no other options."""
    eta = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    submission = Submission(
        call=Call(name="demo.add", args=[2, 3], kwargs={"z": None}, priority=3), scheduled_for=eta, expires_at=eta
    )
    broker.send("t-1", submission, queue="sums")

    with redis.Redis.from_url(redis_url) as client:
        [message] = messages(client, "sums")
    headers = message["headers"]
    assert (headers["task"], headers["id"], headers["root_id"], headers["retries"]) == ("demo.add", "t-1", "t-1", 0)
    assert datetime.fromisoformat(headers["eta"]) == datetime.fromisoformat(headers["expires"]) == eta
    assert message["content-type"] == "application/json"
    args, kwargs, embed = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([2, 3], {"z": None})
    assert embed == {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@pytest.mark.parametrize("worker", [None, "celery@here"])
def test_a_cancel_equals_a_revoke_of_celery(broker: CeleryBroker, redis_url: str, worker: str | None) -> None:
    """A cancel sends the same broadcast as `app.control.revoke`."""
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as pubsub:
        pubsub.psubscribe("*.pidbox*")
        wait_until(lambda: pubsub.get_message(timeout=1))
        broker.cancel("t-1", terminate=True, worker=worker)
        with Celery(broker=redis_url, set_as_current=False) as app:
            app.control.revoke("t-1", terminate=True, destination=[worker] if worker else None)
        ours, celerys = (json.loads(wait_until(lambda: pubsub.get_message(timeout=1))["data"]) for _ in range(2))

    # Celery sets an expiry, and names the signal that workers use by default.
    assert celerys["headers"].pop("expires")
    assert ours["headers"].pop("expires") == 0
    ours_body, celerys_body = (json.loads(base64.b64decode(message["body"])) for message in (ours, celerys))
    assert celerys_body["arguments"].pop("signal") == "SIGTERM"
    assert {key: ours_body.get(key) for key in celerys_body} == celerys_body
    for message in (ours, celerys):
        del message["body"], message["properties"]["delivery_tag"], message["headers"]["clock"]
    assert ours == celerys


def test_does_not_subscribe(broker: CeleryBroker, redis_url: str) -> None:
    """Sending does not subscribe; a result backend would, and would wait for the confirmation."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("commandstats")
        broker.send("t-1", SUBMISSION, queue="celery")
        after = client.info("commandstats")
    assert not {name for name in after if "subscribe" in name} - set(before)


def timed_failure(broker: CeleryBroker) -> float:
    """Send and cancel, check that both fail, and return the seconds that the slower one took."""
    seconds = []
    for use in (
        lambda: broker.send("t-1", SUBMISSION, queue="celery"),
        lambda: broker.cancel("t-1", terminate=True, worker=None),
    ):
        started = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            use()
        seconds.append(time.monotonic() - started)
    return max(seconds)


def test_a_refused_connection_raises_soon() -> None:
    """Each use raises at once if the broker refuses connections."""
    broker = CeleryBroker(f"redis://127.0.0.1:{free_port()}/0", default_queue="celery")
    assert max(timed_failure(broker) for _ in range(3)) < BOUND_SECONDS
    with pytest.raises(BrokerUnavailable):
        broker.check()
    broker.close()


def test_a_stalled_broker_raises_soon_and_recovers(tmp_path: Path) -> None:
    """A broker that accepts connections and does not answer times out soon; the same sender works once it answers."""
    with running_redis(tmp_path) as server:
        broker = CeleryBroker(server.url, default_queue="celery")
        broker.send("t-1", SUBMISSION, queue="celery")
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            assert timed_failure(broker) < BOUND_SECONDS
            started = time.monotonic()
            with pytest.raises(BrokerUnavailable):
                broker.check()
            assert time.monotonic() - started < BOUND_SECONDS
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
        wait_until(server.answers)
        broker.check()
        broker.send("t-2", SUBMISSION, queue="celery")
        broker.close()


def test_the_first_send_after_a_restart_succeeds(tmp_path: Path) -> None:
    """The first send after a restart of the broker succeeds on a new connection."""
    with running_redis(tmp_path) as server:
        broker = CeleryBroker(server.url, default_queue="celery")
        broker.send("t-1", SUBMISSION, queue="celery")
        server.stop()
        assert timed_failure(broker) < BOUND_SECONDS
        server.start()
        broker.send("t-2", SUBMISSION, queue="celery")
        broker.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_counts_waiting_messages(kind: str, broker: CeleryBroker) -> None:
    """The waiting messages of all priorities are counted; a missing queue has none."""
    fake = MemoryBroker()
    used = fake if kind == "memory" else broker
    assert used.waiting("sums") == 0

    used.send("t-1", SUBMISSION, queue="sums")
    used.send(
        "t-2",
        msgspec.structs.replace(SUBMISSION, call=msgspec.structs.replace(SUBMISSION.call, priority=9)),
        queue="sums",
        retries=2,
    )
    fake.queued["sums"] = 2
    assert used.waiting("sums") == 2


def test_a_resent_retry_keeps_its_retry_number(broker: CeleryBroker, redis_url: str) -> None:
    """The message that replaces a lost retry has the retry number of the lost one."""
    broker.send("t-1", SUBMISSION, queue="sums", retries=2)

    with redis.Redis.from_url(redis_url) as client:
        [message] = messages(client, "sums")
    assert (message["headers"]["id"], message["headers"]["retries"]) == ("t-1", 2)


def test_sends_after_the_broker_lost_its_queues(broker: CeleryBroker, redis_url: str) -> None:
    """After the broker has lost its queues they are declared again, and no accepted message is lost."""
    broker.send("t-1", SUBMISSION, queue="celery")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        with contextlib.suppress(BrokerUnavailable):
            broker.send("t-2", SUBMISSION, queue="celery")
            assert client.llen("celery") == 1
        broker.send("t-3", SUBMISSION, queue="celery")
        assert client.llen("celery") in (1, 2)


def test_a_full_broker_raises(redis_server: RedisServer, broker: CeleryBroker) -> None:
    """A send to a broker that is out of memory raises `StoreFull`, and puts nothing into the queue."""
    broker.send("t-1", SUBMISSION, queue="celery")
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StoreFull):
                broker.send("t-1", SUBMISSION, queue="celery")
            assert client.llen("celery") == 1
            # A broadcast is not stored, so that a full Redis accepts it.
            broker.cancel("t-1", terminate=False, worker=None)
        finally:
            client.config_set("maxmemory", 0)


def test_a_check_keeps_its_connection(broker: CeleryBroker, redis_url: str) -> None:
    """Checks use one connection, which is replaced if it is lost."""
    with redis.Redis.from_url(redis_url) as client:
        broker.check()
        before = client.info("stats")["total_connections_received"]
        for _ in range(5):
            broker.check()
        assert client.info("stats")["total_connections_received"] == before
        client.client_kill_filter(_type="normal", skipme=True)
        for _ in range(2):
            broker.check()
        assert client.info("stats")["total_connections_received"] - before <= 2


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_send_over_a_closed_connection_raises(
    broker: CeleryBroker, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    """Any error is an unavailable broker if a failover has replaced the connections: closed ones raise ValueError."""

    class Moment(datetime):
        def isoformat(self, *_: Any) -> str:  # called during the send
            if is_replaced:
                monkeypatch.setattr(broker, "_current_app", Celery(set_as_current=False))
            raise ValueError("Invalid file object: None")

    submission = msgspec.structs.replace(SUBMISSION, scheduled_for=Moment(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(BrokerUnavailable if is_replaced else ValueError):
        broker.send("t-1", submission, queue="sums")
