"""Waits and event streams with the real server (one gevent process) and real workers."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from support.servers import RedisServer, running_service, wait_until
from task_status_worker.record.keys import Keys

from acceptance.conftest import Service, Task


def events(url: str, path: str, last: str | None = None) -> Iterator[tuple[str, Task]]:
    """Yield the id and the status of each event of a stream."""
    headers = {"Last-Event-ID": last} if last else {}
    with requests.get(url + path, headers=headers, stream=True, timeout=30) as response:
        assert response.status_code == 200, response.text
        event_id = ""
        for line in response.iter_lines(decode_unicode=True):
            name, _, text = line.partition(": ")
            if name == "id":
                event_id = text
            elif name == "data":
                yield event_id, json.loads(text)


def test_waits_for_the_end(service: Service) -> None:
    """A submission with `wait` returns the result."""
    submission = {"name": "demo.sleep", "kwargs": {"seconds": 0.3}}
    response = service.session.post(f"{service.url}/tasks?wait=20", json=submission, timeout=30)

    assert (response.status_code, response.json()["result"]) == (200, 0.3)


def test_waits_for_a_change(service: Service) -> None:
    """Repeated waits with If-None-Match return each step, and then the end."""
    task_id = service.submit("demo.checkpointed", total=10)
    task, etag, percents = service.read(task_id), '"none"', []
    while not task["done"]:
        response = service.session.get(
            f"{service.url}/tasks/{task_id}?wait=20", headers={"If-None-Match": etag}, timeout=30
        )
        assert response.status_code == 200
        task, etag = response.json(), response.headers["ETag"]
        percents.append(task["progress"]["percent"] if task["progress"] else 0)
    assert task["result"] == 10
    assert percents == sorted(percents)
    assert len(set(percents)) > 3


def test_wait_for_a_change_returns_the_end(service: Service, real_redis: RedisServer) -> None:
    """A wait on a running task returns its end, not an intermediate write."""
    states = []
    for _ in range(5):
        task_id = service.submit("demo.sleep", seconds=0.5)
        with real_redis.client() as client:
            # The record has the start a moment before the meta; the second write would be a change too.
            wait_until(lambda task_id=task_id: client.exists(Keys().meta(task_id)), what="Celery to store the start")
        where = f"{service.url}/tasks/{task_id}"
        known = {"If-None-Match": service.session.get(where, timeout=10).headers["ETag"]}
        states.append(service.session.get(f"{where}?wait=20", headers=known, timeout=30).json()["state"])
    assert states == ["succeeded"] * 5


def test_stream_to_the_end(service: Service) -> None:
    """A stream sends each step, and ends after the last one."""
    task_id = service.submit("demo.count", total=20, interval=0.05)

    statuses = [status for _, status in events(service.url, f"/tasks/{task_id}/events")]

    percents = [status["progress"]["percent"] for status in statuses if status["progress"]]
    assert percents == sorted(percents)
    assert len(set(percents)) > 5
    assert [status["done"] for status in statuses].count(True) == 1
    assert (statuses[-1]["state"], statuses[-1]["result"]) == ("succeeded", 20)


def test_stream_of_several_tasks(service: Service) -> None:
    """A stream of several tasks ends when all are done."""
    task_ids = [service.submit("demo.sleep", seconds=seconds) for seconds in (0.1, 0.3, 0.5)]
    query = "&".join(f"id={task_id}" for task_id in task_ids)

    last: dict[str, Any] = {status["id"]: status for _, status in events(service.url, f"/events?{query}")}

    assert [last[task_id]["state"] for task_id in task_ids] == ["succeeded"] * 3


def test_reads_during_many_waits(service: Service) -> None:
    """While 200 clients wait for a task, reads of it are answered; at its end all 200 waits are."""
    task_id = service.submit("demo.sleep", seconds=6)
    request = f"GET /tasks/{task_id}?wait=30 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    host, port = service.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        waiters = [stack.enter_context(socket.create_connection((host, int(port)), timeout=30)) for _ in range(200)]
        for waiter in waiters:
            waiter.sendall(request)
        reads = [service.read(task_id) for _ in range(50)]
        assert {task["done"] for task in reads} == {False}, "they were answered before the end"
        answers = [waiter.makefile("rb").read() for waiter in waiters]
    assert all(answer.startswith(b"HTTP/1.1 200") and b'"state":"succeeded"' in answer for answer in answers)


@pytest.fixture
def small(real_redis: RedisServer, tmp_path: Path) -> Iterator[Service]:
    """A second service, with at most two watches per caller."""
    environ = {"TASK_STATUS_REDIS_URL": real_redis.url, "TASK_STATUS_WATCHES_PER_CALLER": "2"}
    with running_service(environ, folder=tmp_path) as url:
        service = Service(url)
        yield service
        service.session.close()


def test_disconnected_client_frees_its_watch(service: Service, small: Service) -> None:
    """At the limit a stream returns 429 and a wait returns at once; a disconnect frees a watch."""
    task_id = service.post("demo.add", args=[1, 2], queue="unread-queue").json()["id"]
    host, port = small.url.removeprefix("http://").split(":")
    waiters = [socket.create_connection((host, int(port)), timeout=30) for _ in range(2)]
    for waiter in waiters:
        waiter.sendall(f"GET /tasks/{task_id}?wait=60 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def watch() -> int:
        with requests.get(f"{small.url}/tasks/{task_id}/events", stream=True, timeout=5) as response:
            return response.status_code

    wait_until(lambda: watch() == 429, what="the limit to be reached")
    answer = small.session.get(f"{small.url}/tasks/{task_id}?wait=60", timeout=5)
    assert (answer.json()["state"], "Retry-After" in answer.headers) == ("queued", True)

    for waiter in waiters:
        waiter.close()
    wait_until(lambda: watch() == 200, what="a free watch")


def streams_of(server: RedisServer) -> list[dict[str, str]]:
    """Return the pub/sub connections of services with watches."""
    with server.client() as client:
        return [found for found in client.client_list(_type="pubsub") if int(found["sub"]) > 1]


def test_resumes_on_another_server(service: Service, real_redis: RedisServer, tmp_path: Path) -> None:
    """A stopped server ends its streams; the client resumes at another one without repeated events."""
    before = len(streams_of(real_redis))
    seen: list[tuple[str, Task]] = []
    with running_service({"TASK_STATUS_REDIS_URL": real_redis.url}, folder=tmp_path) as url:
        # After the server has started: on a busy machine the start takes as long as the task.
        task_id = service.submit("demo.count", total=60, interval=0.1)
        service.wait(task_id, lambda task: task["progress"])
        reader = threading.Thread(target=lambda: seen.extend(events(url, f"/tasks/{task_id}/events")))
        reader.start()
        wait_until(lambda: len(streams_of(real_redis)) > before, what="the stream to begin")
    # The end of the block stopped the server; that takes up to ten seconds if a stream does not end.
    reader.join(1)
    assert not reader.is_alive()
    assert seen
    assert not seen[-1][1]["done"]

    rest = list(events(service.url, f"/tasks/{task_id}/events", last=seen[-1][0]))

    assert rest[-1][1]["result"] == 60
    ids = [event_id for event_id, _ in seen + rest]
    assert len(ids) == len(set(ids))
