"""Sending through a real Redis: what the message says, and how long it takes to learn that there is no broker."""

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
from task_status_service.errors import BrokerUnavailable
from task_status_service.use_cases.submission import Call, Submission

SUBMISSION = Submission(call=Call(name="demo.add", args=[2, 3], kwargs={"z": {"deep": [None]}}))

#: what the client of an API waits at the most, and what the machine that runs the tests may add
BOUND_SECONDS = 2.0


@pytest.fixture
def broker(redis_url: str) -> Iterator[CeleryBroker]:
    """Give a broker over the session's Redis."""
    broker = CeleryBroker(redis_url, default_queue="celery")
    yield broker
    broker.close()


def messages(client: redis.Redis, queue: str) -> list[dict[str, Any]]:
    """Give the messages of a queue; Redis brokers keep a list for each step of priority (kombu, transport/redis.py)."""
    return [json.loads(text) for key in client.keys(f"{queue}*") for text in client.lrange(key, 0, -1)]


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_sends_once(kind: str, broker: CeleryBroker, redis_url: str) -> None:
    """What the tracker may expect of a broker; the fake and the real one pass the same test."""
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
def test_says_when_it_is_gone(kind: str) -> None:
    """Sending, canceling and checking all name a broker that is not there."""
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


def test_message(broker: CeleryBroker, redis_url: str) -> None:
    """The message says what was submitted, and nothing of the client's making besides."""
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
def test_cancels_as_celery_does(broker: CeleryBroker, redis_url: str, worker: str | None) -> None:
    """Workers are told what `app.control.revoke` tells them."""
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as told:
        told.psubscribe("*.pidbox*")
        wait_until(lambda: told.get_message(timeout=1))
        broker.cancel("t-1", terminate=True, worker=worker)
        with Celery(broker=redis_url, set_as_current=False) as app:
            app.control.revoke("t-1", terminate=True, destination=[worker] if worker else None)
        ours, celerys = (json.loads(wait_until(lambda: told.get_message(timeout=1))["data"]) for _ in range(2))

    # Its default, which workers use when none is named; and the reply that it does not wait for.
    assert celerys["headers"].pop("expires")
    assert ours["headers"].pop("expires") == 0
    ours_body, celerys_body = (json.loads(base64.b64decode(message["body"])) for message in (ours, celerys))
    assert celerys_body["arguments"].pop("signal") == "SIGTERM"
    assert {key: ours_body.get(key) for key in celerys_body} == celerys_body
    for message in (ours, celerys):
        del message["body"], message["properties"]["delivery_tag"], message["headers"]["clock"]
    assert ours == celerys


def test_does_not_subscribe(broker: CeleryBroker, redis_url: str) -> None:
    """Sending subscribes to nothing: a result backend would, and wait for it."""
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("commandstats")
        broker.send("t-1", SUBMISSION, queue="celery")
        after = client.info("commandstats")
    assert not {name for name in after if "subscribe" in name} - set(before)


def timed_failure(broker: CeleryBroker) -> float:
    """Send and cancel, expect both to fail, and give how long the slower one took, in seconds."""
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


def test_refused() -> None:
    """A broker that refuses connections is told at once, the first time and every time."""
    broker = CeleryBroker(f"redis://127.0.0.1:{free_port()}/0", default_queue="celery")
    assert max(timed_failure(broker) for _ in range(3)) < BOUND_SECONDS
    with pytest.raises(BrokerUnavailable):
        broker.check()
    broker.close()


def test_stalled_and_back(tmp_path: Path) -> None:
    """A broker that accepts and never answers is given up soon; when it answers again, the same sender works."""
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


def test_restarted(tmp_path: Path) -> None:
    """After a restart of the broker the first send goes through, over a new connection."""
    with running_redis(tmp_path) as server:
        broker = CeleryBroker(server.url, default_queue="celery")
        broker.send("t-1", SUBMISSION, queue="celery")
        server.stop()
        assert timed_failure(broker) < BOUND_SECONDS
        server.start()
        broker.send("t-2", SUBMISSION, queue="celery")
        broker.close()


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_counts_what_waits(kind: str, broker: CeleryBroker) -> None:
    """What no worker has taken, of any priority; a queue that there is not has none."""
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


def test_a_retry_says_so(broker: CeleryBroker, redis_url: str) -> None:
    """A task that is sent again in place of a lost retry is the attempt that this would have been."""
    broker.send("t-1", SUBMISSION, queue="sums", retries=2)

    with redis.Redis.from_url(redis_url) as client:
        [message] = messages(client, "sums")
    assert (message["headers"]["id"], message["headers"]["retries"]) == ("t-1", 2)


def test_emptied(broker: CeleryBroker, redis_url: str) -> None:
    """A broker that has lost its queues is told of them again, and nothing that was accepted is lost."""
    broker.send("t-1", SUBMISSION, queue="celery")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
        with contextlib.suppress(BrokerUnavailable):
            broker.send("t-2", SUBMISSION, queue="celery")
            assert client.llen("celery") == 1
        broker.send("t-3", SUBMISSION, queue="celery")
        assert client.llen("celery") in (1, 2)


def test_full(redis_server: RedisServer, broker: CeleryBroker) -> None:
    """A broker that takes no writes is named so."""
    broker.send("t-1", SUBMISSION, queue="celery")
    with redis_server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(BrokerUnavailable):
                broker.send("t-1", SUBMISSION, queue="celery")
            # A broadcast is kept nowhere.
            broker.cancel("t-1", terminate=False, worker=None)
        finally:
            client.config_set("maxmemory", 0)
