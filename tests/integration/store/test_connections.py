"""Each kind of URL that the settings accept, with real servers: a Unix socket and Sentinel."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from support.servers import RedisServer, free_port, running, running_redis, wait_until
from task_status_service.app import create_service
from task_status_service.dev.redis_server import find_redis_server
from task_status_service.settings import Settings
from task_status_service.task_types.catalog import TaskNames


@pytest.fixture
def unix_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings for a Redis that listens only on a Unix socket."""
    path = tmp_path / "redis.sock"
    command = [str(find_redis_server()), "--port", "0", "--unixsocket", str(path), "--dir", str(tmp_path), "--save", ""]
    with running(command, environ={}, log=tmp_path / "redis.log"):
        wait_until(path.exists, what="the socket")
        url = f"unix://{path}?db=3"
        yield Settings(broker_url=url, result_url=url, record_url=url, tasks=TaskNames.parse("shop.*"))


@pytest.fixture
def sentinel_settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings for a Redis that a Sentinel knows as `main`."""
    with running_redis(tmp_path) as server:
        port = free_port()
        config = tmp_path / "sentinel.conf"
        config.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {server.port} 1\n")
        command = [str(find_redis_server()), str(config), "--sentinel"]
        with running(command, environ={}, log=tmp_path / "sentinel.log"):
            wait_until(lambda: knows_master(port, server), what="Sentinel")
            # The first Sentinel is unreachable, so that the client must try the next one.
            url = f"sentinel://127.0.0.1:{free_port()}/2;sentinel://127.0.0.1:{port}/2"
            yield Settings(
                broker_url=url,
                result_url=url,
                record_url=url,
                sentinel_master="main",
                tasks=TaskNames.parse("shop.*"),
            )


def knows_master(port: int, server: RedisServer) -> bool:
    """Return whether a Sentinel has found the master."""
    try:
        with redis.Redis(port=port) as client:
            _, found = client.sentinel_get_master_addr_by_name("main")
            return bool(found == server.port)
    except redis.RedisError:
        return False


@pytest.mark.parametrize("kind", ["unix_settings", "sentinel_settings"])
def test_submits_and_reads_a_task(request: pytest.FixtureRequest, kind: str) -> None:
    """One URL connects to the records, the results and the broker."""
    client = create_service(request.getfixturevalue(kind)).app.test_client()

    submitted = client.post("/tasks", json={"name": "shop.pay"})

    assert submitted.status_code == 202, submitted.get_data(as_text=True)
    assert client.get(submitted.headers["Location"]).get_json()["state"] == "queued"
    faults = [error["detail"] for error in client.get("/readyz").get_json()["errors"]]
    assert faults == ["worker: no worker has sent a heartbeat: start one"]
