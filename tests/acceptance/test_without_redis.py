"""During outages of Redis answers are in time and name the cause; afterwards the service recovers without a restart."""

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
from support.redis_users import service_environ, worker_url
from support.servers import RedisServer, free_port, running_redis, running_service, running_worker, wait_until
from task_status_worker.record.keys import Keys

from acceptance.conftest import Service

#: limit of the time of any answer, in seconds; the slack is for a busy machine
BOUND_SECONDS = 2.0
SLACK_SECONDS = 0.5
#: seconds within which the service recovers after Redis answers again
RECOVERY_SECONDS = 1.0

SUBMISSION = {"name": "demo.add", "args": [2, 3]}


@pytest.fixture(scope="module")
def alone(module_redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without a worker; one has announced its task types before and stopped."""
    folder = tmp_path_factory.mktemp("logs")
    with running_service(service_environ(module_redis), folder=folder) as service_url:
        service = Service(service_url)
        with running_worker("task_status_worker.demo", redis_url=worker_url(module_redis), folder=folder):
            wait_until(lambda: service.session.get(f"{service_url}/readyz", timeout=5).ok, what="ready")
            assert service.run("demo.add", x=1, y=1)["result"] == 2
        yield service
        service.session.close()


def timed(service: Service, method: str, path: str, **options: object) -> requests.Response:
    """Send a request, and check that the answer is in time."""
    started = time.monotonic()
    response = service.session.request(method, service.url + path, timeout=20, **options)
    assert time.monotonic() - started < BOUND_SECONDS + SLACK_SECONDS, (method, path)
    return response


def send_all_writes(service: Service) -> list[requests.Response]:
    """Send each kind of write request concurrently."""
    requests_made: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/tasks", {"json": SUBMISSION, "headers": {"Idempotency-Key": "without-redis"}}),
        ("POST", "/tasks/t-1/cancel", {}),
        ("POST", "/tasks/t-1/retry", {"headers": {"Idempotency-Key": "without-redis"}}),
        ("DELETE", "/tasks/t-1", {}),
    ]
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda made: timed(service, made[0], made[1], **made[2]), requests_made))


def check_all_unavailable(service: Service) -> None:
    """Check that each request returns the right status, in time."""
    for response in send_all_writes(service):
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
    for _ in range(2):
        for response in (timed(service, "GET", "/tasks/t-1"), timed(service, "POST", "/tasks", json=SUBMISSION)):
            assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
            assert response.headers["Retry-After"] == "1"
        # One check a second answers all requests.
        wait_until(lambda: timed(service, "GET", "/readyz").status_code == 503, timeout=5, what="not ready")
        faults = [error["detail"].split(":")[0] for error in timed(service, "GET", "/readyz").json()["errors"]]
        assert faults == ["store", "broker", "worker"]
        assert timed(service, "GET", "/livez").status_code == 200


def is_healthy(service: Service) -> bool:
    """Return whether a read and a submission work."""
    read = timed(service, "GET", "/tasks/t-1").status_code
    return read == 404 and timed(service, "POST", "/tasks", json=SUBMISSION).status_code == 202


def test_stalled(alone: Service, module_redis: RedisServer) -> None:
    """A Redis that accepts connections but does not answer causes 503 in time."""
    process = module_redis.process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        check_all_unavailable(alone)
    finally:
        os.kill(process.pid, signal.SIGCONT)
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_refused_and_restarted(alone: Service, module_redis: RedisServer) -> None:
    """A stopped Redis causes 503; after a restart with its data accepted tasks are still queued."""
    task_id = alone.submit("demo.add", x=1, y=2)
    module_redis.stop()
    check_all_unavailable(alone)
    module_redis.start()
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")
    assert alone.read(task_id)["state"] == "queued"


def test_read_only(alone: Service, module_redis: RedisServer) -> None:
    """With a read-only replica as Redis, submissions return 503 and reads work."""
    task_id = alone.submit("demo.add", x=1, y=2)
    with module_redis.client() as client:
        client.replicaof("127.0.0.1", "1")
        response = timed(alone, "POST", "/tasks", json=SUBMISSION)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
        assert alone.read(task_id)["state"] == "queued"
        wait_until(
            lambda: "it is a replica" in "".join(timed(alone, "GET", "/readyz").json().get("warnings", [])),
            timeout=5,
            what="the warning",
        )
        client.replicaof("no", "one")
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_paused(alone: Service, module_redis: RedisServer) -> None:
    """A Redis that delays its answers causes 503 in time; afterwards requests succeed."""
    with module_redis.client() as client:
        for method, path, options in (("GET", "/tasks/t-1", {}), ("POST", "/tasks", {"json": SUBMISSION})):
            client.client_pause(2_000)  # for each request: a slow one may outlast a shared pause
            response = timed(alone, method, path, **options)
            assert (response.status_code, response.json()["type"]) == (503, "/problems/store-unavailable")
            client.ping()  # returns after the pause
    wait_until(lambda: is_healthy(alone), timeout=RECOVERY_SECONDS, what="recovery")


def test_full(alone: Service, module_redis: RedisServer) -> None:
    """With a full Redis, submissions return `store-full` and reads work."""
    task_id = alone.submit("demo.add", x=1, y=2)
    with module_redis.client() as client:
        client.config_set("maxmemory", 1)
        response = timed(alone, "POST", "/tasks", json=SUBMISSION)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/store-full")
        assert alone.read(task_id)["state"] == "queued"
        client.config_set("maxmemory", 0)
    assert is_healthy(alone)


def test_emptied(alone: Service, module_redis: RedisServer) -> None:
    """After Redis has lost its data, accepted tasks return 404, and /readyz warns."""
    task_id = alone.submit("demo.add", x=1, y=2)
    wait_until(lambda: timed(alone, "GET", "/readyz").ok, timeout=5, what="ready")
    ready = timed(alone, "GET", "/readyz").json()
    assert losses_in(ready) == []
    with module_redis.client() as client:
        client.flushall()
        assert timed(alone, "GET", f"/tasks/{task_id}").status_code == 404
        # A worker's next heartbeat does the same.
        client.zadd(Keys().workers, {"celery@here": client.time()[0]})
    # One check a second answers all requests.
    wait_until(lambda: losses_in(timed(alone, "GET", "/readyz").json()), timeout=5, what="the warning")
    response = timed(alone, "GET", "/readyz")
    assert response.status_code == 200
    assert response.json()["store_epoch"] != ready["store_epoch"]
    [warning] = losses_in(response.json())
    assert ready["store_epoch"] in warning


def losses_in(ready: dict[str, Any]) -> list[str]:
    """Return the warnings about lost data; an earlier test may have caused a warning about a failover."""
    return [warning for warning in ready["warnings"] if "has lost its data" in warning]


def test_volatile(tmp_path: Path) -> None:
    """With a Redis without persistence the server warns at its start; with `refuse` it exits with the remedy."""
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
    assert "`CONFIG SET appendonly yes`" in ended.stderr
    assert "Traceback" not in ended.stderr
