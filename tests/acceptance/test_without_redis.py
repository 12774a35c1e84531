"""The service while Redis refuses, stalls, is full or has just come back: bounded, named, healthy again by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from support.servers import RedisServer, free_port, running_redis, running_service, running_worker, wait_until
from task_status_worker.record.keys import Keys

from acceptance.conftest import Service

#: no answer comes later, in seconds; and what a busy machine may add
BOUND_SECONDS = 2.0
SLACK_SECONDS = 0.5
#: when Redis answers again, so does the service, as soon as this
RECOVERY_SECONDS = 1.0

SUBMISSION = {"name": "demo.add", "args": [2, 3]}


@pytest.fixture(scope="module")
def alone(redis_of_its_own: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose worker has announced its tasks and is gone."""
    url, folder = redis_of_its_own.url, tmp_path_factory.mktemp("logs")
    with running_service({"TASK_STATUS_REDIS_URL": url}, folder=folder) as service_url:
        service = Service(service_url)
        with running_worker("task_status_worker.demo", redis_url=url, folder=folder):
            wait_until(lambda: service.session.get(f"{service_url}/readyz", timeout=5).ok, what="ready")
            assert service.run("demo.add", x=1, y=1)["result"] == 2
        yield service
        service.session.close()


def timed(service: Service, method: str, path: str, **options: object) -> requests.Response:
    """Ask once, and check that the answer does not come late."""
    started = time.monotonic()
    response = service.session.request(method, service.url + path, timeout=20, **options)
    assert time.monotonic() - started < BOUND_SECONDS + SLACK_SECONDS, (method, path)
    return response


def ask_for_everything(service: Service) -> list[requests.Response]:
    """Ask for each thing that one can do to a task, all at once."""
    requests_made: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/tasks", {"json": SUBMISSION, "headers": {"Idempotency-Key": "without-redis"}}),
        ("POST", "/tasks/t-1/cancel", {}),
        ("POST", "/tasks/t-1/retry", {"headers": {"Idempotency-Key": "without-redis"}}),
        ("DELETE", "/tasks/t-1", {}),
    ]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda made: timed(service, made[0], made[1], **made[2]), requests_made))


def everything_is_unavailable(service: Service) -> None:
    """Check that every request is answered in time, as what it is."""
    for response in ask_for_everything(service):
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
    for _ in range(2):
        for response in (timed(service, "GET", "/tasks/t-1"), timed(service, "POST", "/tasks", json=SUBMISSION)):
            assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
            assert response.headers["Retry-After"] == "1"
        faults = [error["detail"].split(":")[0] for error in timed(service, "GET", "/readyz").json()["errors"]]
        assert faults == ["store", "broker", "worker"]
        assert timed(service, "GET", "/livez").status_code == 200


def is_healthy(service: Service) -> bool:
    """Tell whether reading and submitting work."""
    read = timed(service, "GET", "/tasks/t-1").status_code
    return read == 404 and timed(service, "POST", "/tasks", json=SUBMISSION).status_code == 202


def test_stalled(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that accepts and never answers."""
    process = redis_of_its_own.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        everything_is_unavailable(alone)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_refused_and_restarted(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that is gone, and comes back with its data: what was accepted is still there."""
    task_id = alone.submit("demo.add", x=1, y=2)
    redis_of_its_own.stop()
    everything_is_unavailable(alone)
    redis_of_its_own.start()
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")
    assert alone.read(task_id)["state"] == "queued"


def test_read_only(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that has become a replica: submitting is refused, reading goes on."""
    task_id = alone.submit("demo.add", x=1, y=2)
    with redis_of_its_own.client() as client:
        client.replicaof("127.0.0.1", "1")
        response = timed(alone, "POST", "/tasks", json=SUBMISSION)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
        assert alone.read(task_id)["state"] == "queued"
        [warning] = timed(alone, "GET", "/readyz").json()["warnings"]
        assert "replica" in warning
        client.replicaof("no", "one")
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_paused(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that holds back its answers: nobody waits for longer than the bound, and then it is over."""
    with redis_of_its_own.client() as client:
        for method, path, options in (("GET", "/tasks/t-1", {}), ("POST", "/tasks", {"json": SUBMISSION})):
            client.client_pause(2_000)  # each time, for a busy machine takes long over one request
            response = timed(alone, method, path, **options)
            assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
            client.ping()  # waits until the pause is over
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_full(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that takes no more writes: submitting is refused as such, reading goes on."""
    task_id = alone.submit("demo.add", x=1, y=2)
    with redis_of_its_own.client() as client:
        client.config_set("maxmemory", 1)
        response = timed(alone, "POST", "/tasks", json=SUBMISSION)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-full")
        assert alone.read(task_id)["state"] == "queued"
        client.config_set("maxmemory", 0)
    assert is_healthy(alone)


def test_emptied(alone: Service, redis_of_its_own: RedisServer) -> None:
    """A Redis that has lost its data: what was accepted is unknown, not queued, and an operator is told."""
    task_id = alone.submit("demo.add", x=1, y=2)
    ready = alone.session.get(f"{alone.url}/readyz", timeout=5).json()
    assert ready["warnings"] == []
    with redis_of_its_own.client() as client:
        client.flushall()
        assert timed(alone, "GET", f"/tasks/{task_id}").status_code == 404
        # As the next heartbeat of a worker does.
        client.zadd(Keys().workers, {"celery@here": client.time()[0]})
    response = timed(alone, "GET", "/readyz")
    assert response.status_code == 200
    assert response.json()["store_epoch"] != ready["store_epoch"]
    [warning] = response.json()["warnings"]
    assert ready["store_epoch"] in warning


def test_volatile(tmp_path: Path) -> None:
    """A Redis that keeps nothing: the start says so, or ends with the remedy where the setting says `refuse`."""
    with running_redis(tmp_path) as server:
        environ = {"TASK_STATUS_REDIS_URL": server.url}
        with running_service(environ, folder=tmp_path):
            log = tmp_path / "service.log"
            wait_until(lambda: "Redis loses all data on a restart" in log.read_text(), what="the warning")
        refusing = {**os.environ, **environ, "TASK_STATUS_VOLATILE_STORE": "refuse"}
        command = [sys.executable, "-m", "task_status_service.cli", "serve"]
        refusing["TASK_STATUS_BIND"] = f"127.0.0.1:{free_port()}"
        ended = subprocess.run(command, env=refusing, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert "To mend it: `CONFIG SET appendonly yes`" in ended.stderr
    assert "Traceback" not in ended.stderr
