"""The images and the compose file, with a real Docker engine: `make test-docker`."""

import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support.servers import free_port, wait_until

ROOT = Path(__file__).parents[2]

# The first run downloads base images and all dependencies.
pytestmark = pytest.mark.timeout(1_200)


def _output(*command: str, **variables: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def _compose_command() -> tuple[str, ...]:
    """Return the compose plugin of Docker, or else the older separate program."""
    with contextlib.suppress(AssertionError):
        _output("docker", "compose", "version")
        return ("docker", "compose")
    return ("docker-compose",)


class Stack:
    """A stack of the compose file, with a unique project name and port."""

    def __init__(self) -> None:
        self.name = f"task-status-test-{uuid.uuid4().hex[:8]}"
        self.port = free_port()
        self.command = _compose_command()
        self.key = ""

    def compose(self, *arguments: str) -> str:
        return _output(*self.command, "--project-name", self.name, *arguments, PORT=str(self.port))

    def inspect(self, service: str, template: str) -> str:
        return _output("docker", "inspect", "--format", template, self.compose("ps", "--all", "--quiet", service))

    def is_healthy(self, service: str) -> bool:
        return self.inspect(service, "{{.State.Health.Status}}") == "healthy"

    def request(self, path: str, body: object = None) -> dict:
        url = f"http://127.0.0.1:{self.port}{path}"
        headers = {"Authorization": f"Bearer {self.key}"}
        response = requests.request("GET" if body is None else "POST", url, json=body, headers=headers, timeout=30)
        response.raise_for_status()
        return response.json()

    def is_ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):  # no server yet, 503, or an aborted connection
            return bool(self.request("/readyz"))
        return False

    def has_key(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return bool(self.request("/tasks"))
        return False

    def run_task(self, name: str, **kwargs: object) -> dict:
        """Submit a task and wait for its end; return it."""
        path = f"/tasks/{self.request('/tasks', {'name': name, 'kwargs': kwargs})['id']}"
        return wait_until(lambda: (task := self.request(path))["done"] and task, timeout=60, what=f"{name} to end")


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A running stack with newly built images; all of it is removed afterwards."""
    docker = shutil.which("docker")
    engine = docker and subprocess.run([docker, "info"], capture_output=True, text=True, check=False)
    if not engine or engine.returncode != 0:
        pytest.skip(f"no Docker engine: {engine.stderr.strip().splitlines()[-1] if engine else 'no docker command'}")
    stack = Stack()
    try:
        stack.compose("build")
        stack.compose("up", "--detach")
        wait_until(stack.is_ready, timeout=60, what="the API to be ready")
        stack.key = stack.compose("run", "--rm", "-T", "keys", "add", "test", "--scopes", "submit,read").split()[-1]
        wait_until(stack.has_key, timeout=10, what="the key to be valid")
        yield stack
    finally:
        with contextlib.suppress(AssertionError):
            print(stack.compose("logs", "--no-color", "--tail", "50"))  # noqa: T201  # pytest shows it if a test fails
        stack.compose("down", "--volumes", "--rmi", "local")


@pytest.mark.parametrize("service", ["redis", "api", "worker"])
def test_container_becomes_healthy(stack, service):
    """The health check of each container passes."""
    wait_until(lambda: stack.is_healthy(service), timeout=90, what=f"{service} to be healthy")


@pytest.mark.parametrize("service", ["api", "worker"])
def test_container_is_unprivileged(stack, service):
    """Containers do not run as root, and cannot change their code."""
    assert stack.compose("exec", "-T", service, "id", "-u") == "10001"
    with pytest.raises(AssertionError, match=r"Read-only file system|Permission denied"):
        stack.compose("exec", "-T", service, "touch", "/opt/venv/new")


def test_redis_requires_a_password(stack):
    """Redis does not run as root, and rejects commands without a password."""
    assert stack.compose("exec", "-T", "redis", "id", "-un") == "redis"
    assert "NOAUTH" in stack.compose("exec", "-T", "redis", "redis-cli", "ping")


def test_api_requires_a_key(stack):
    """The API returns 401 without a key; only its user can read the keys file in the container."""
    assert requests.get(f"http://127.0.0.1:{stack.port}/tasks", timeout=30).status_code == 401
    assert stack.compose("exec", "-T", "api", "stat", "-c", "%a %u", "/keys/keys.json") == "600 10001"


def test_task_succeeds(stack):
    """The worker runs a task submitted over HTTP, and the API returns its result."""
    task = stack.run_task("demo.count", total=5)

    assert (task["state"], task["result"]) == ("succeeded", 5)


def test_stops_in_time(stack):
    """The API and the worker stop on SIGTERM before the end of the grace period."""
    started = time.monotonic()
    stack.compose("stop", "api", "worker")

    assert time.monotonic() - started < 15
    assert stack.inspect("api", "{{.State.ExitCode}}") == "0"
    assert stack.inspect("worker", "{{.State.ExitCode}}") == "0"
    stack.compose("up", "--detach")
    wait_until(stack.is_ready, timeout=60, what="the API to be ready")


def test_data_survives_new_containers(stack):
    """Records are in the volume, so they survive new containers."""
    task = stack.run_task("demo.add", x=1, y=2)

    stack.compose("down")
    stack.compose("up", "--detach")
    wait_until(stack.is_ready, timeout=60, what="the API to be ready")

    assert stack.request(f"/tasks/{task['id']}") == task


def test_exited_worker_is_restarted(stack):
    """A worker that exits is restarted and runs tasks."""
    stack.compose("exec", "-T", "worker", "python", "-c", "import os, signal; os.kill(1, signal.SIGTERM)")

    wait_until(lambda: stack.inspect("worker", "{{.RestartCount}}") == "1", timeout=60, what="a restart")
    assert stack.run_task("demo.add", x=1, y=2)["state"] == "succeeded"
