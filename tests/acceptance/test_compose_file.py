"""The commands of docker-compose.yml, run without containers; tests/docker tests the containers."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
import yaml
from support.keys import add_key, bearer
from support.servers import free_port, running, wait_until
from task_status_service.dev.redis_server import find_redis_server

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[2] / "docker-compose.yml").read_text(encoding="utf-8")
)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_each_container_is_limited(name):
    """Each container has limits of memory and processes, no capabilities, and a read-only file system."""
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]


def test_networks_and_secrets_are_separate():
    """Only the API is published, Redis is in another network, and no container has the password of another one."""
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["api"]
    assert SERVICES["redis"]["networks"] == SERVICES["worker"]["networks"] == ["store"]
    mounted = {name: [volume for volume in SERVICES[name].get("volumes", []) if "users" in volume] for name in SERVICES}
    assert {name: volumes for name, volumes in mounted.items() if volumes and name != "users"} == {
        "redis": ["redis-users:/users:ro"],
        "api": ["service-users:/users:ro"],
        "worker": ["worker-users:/users:ro"],
    }


def test_task_succeeds_with_these_commands(tmp_path):
    """The commands create users, start Redis, API and worker with them, and pass both health checks."""
    users, keys, data, port, api_port = (
        tmp_path / "users",
        tmp_path / "keys.json",
        tmp_path / "data",
        free_port(),
        free_port(),
    )
    data.mkdir()
    key = add_key(keys, "test")
    programs = Path(sys.executable).parent

    def adapted(text: str, folder: str) -> str:
        """Replace the paths and addresses within the containers."""
        text = (
            text.replace("$$", "$").replace("redis:6379", f"127.0.0.1:{port}").replace("/users/", f"{users / folder}/")
        )
        return text.replace("/data", str(data))

    environ = {
        "PATH": f"{programs}:{find_redis_server().parent}:{os.environ['PATH']}",
        "TASK_STATUS_BIND": f"127.0.0.1:{api_port}",
    }
    create = [*SERVICES["users"]["entrypoint"], *SERVICES["users"]["command"]]
    command = [part.replace("/users", str(users)) for part in create]
    subprocess.run(command, env={**os.environ, **environ}, check=True)
    server = [*shlex.split(adapted(SERVICES["redis"]["command"], "redis")), "--port", str(port)]
    server[0] = str(find_redis_server())
    shell = {
        name: [*SERVICES[name]["entrypoint"], adapted(SERVICES[name]["command"][0], name.replace("api", "service"))]
        for name in ("api", "worker")
    }
    shell["worker"][-1] = shell["worker"][-1].rstrip() + " --hostname celery@test"
    of_api = {**environ, **SERVICES["api"]["environment"], "TASK_STATUS_API_KEYS_FILE": str(keys)}

    def answer(path: str, **options: Any) -> requests.Response | None:
        try:
            return requests.request(
                url=f"http://127.0.0.1:{api_port}{path}", headers=bearer(key), timeout=15, **options
            )
        except requests.ConnectionError:
            return None

    def is_healthy(name: str) -> bool:
        check = adapted(SERVICES[name]["healthcheck"]["test"][1], name).replace("redis-cli", f"redis-cli -p {port}")
        return subprocess.run(["sh", "-c", check], env={**os.environ, **environ}, check=False).returncode == 0

    with running(server, environ=environ, log=tmp_path / "redis.log"):
        wait_until(lambda: "eady to accept" in (tmp_path / "redis.log").read_text(), what="Redis")
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with (
            running(shell["api"], environ=of_api, log=tmp_path / "api.log"),
            running(shell["worker"], environ=environ, log=tmp_path / "worker.log"),
        ):
            wait_until(lambda: (ready := answer("/readyz", method="GET")) and ready.ok, timeout=40, what="ready")
            task = answer(
                "/tasks?wait=10", method="POST", json={"name": "demo.add", "args": [1, 2], "priority": 9}
            ).json()
            assert (task["state"], task["result"]) == ("succeeded", 3)
            alive = [str(programs / "task-status-worker"), "alive", "celery@test"]
            assert subprocess.run(alive, check=False).returncode == 0
            # Debian's redis-server contains redis-cli; the embedded Valkey does not.
            assert is_healthy("redis") or not (find_redis_server().parent / "redis-cli").exists()
    passwords = [file.read_text() for folder in ("service", "worker") for file in (users / folder).iterdir()]
    logs = "".join((tmp_path / f"{name}.log").read_text() for name in ("api", "worker", "redis"))
    assert len(passwords) == 3
    assert not [password for password in passwords if password in logs]
    assert not re.search(r"NOPERM|no permissions", logs)
