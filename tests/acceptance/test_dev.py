"""`task-status dev`, the command behind `make run`."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
import requests
import task_status_worker
from support.redis_users import running_redis_with_users
from support.servers import free_port, running_worker, wait_until

READY = "Ctrl-C stops everything."


class Dev:
    """A `task-status dev` process and its output."""

    def __init__(self, folder: Path, *options: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder.parent / f"dev-{port}.log"
        command = [
            sys.executable,
            "-m",
            "task_status_service.cli",
            "dev",
            "--port",
            str(port),
            "--folder",
            str(folder),
            *options,
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def output(self) -> str:
        return self.log.read_text()

    def wait_ready(self) -> None:
        wait_until(lambda: READY in self.output() or self.process.poll() is not None, timeout=60, what="ready")
        assert READY in self.output(), self.output()

    def parts(self) -> list[int]:
        """Return the pids of its child processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)


@contextlib.contextmanager
def running_dev(folder: Path, *options: str) -> Iterator[Dev]:
    """Run `task-status dev` during a `with` block, which begins when it is ready."""
    dev = Dev(folder, *options, port=free_port())
    try:
        dev.wait_ready()
        yield dev
    finally:
        dev.end()


def has_ended(pid: int) -> bool:
    """Return whether a process has exited; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_the_printed_lines_work(tmp_path):
    """The three printed curl commands work in a shell: 202, then running, then succeeded."""
    with running_dev(tmp_path / "run") as dev:
        lines = re.findall(r"^  (.*\bcurl .*)$", dev.output(), re.MULTILINE)
        assert len(lines) == 3
        shell = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=60)
    answers = shell.stderr + shell.stdout
    assert "HTTP/1.1 202 ACCEPTED" in answers
    percents = [float(text) for text in re.findall(r'"percent":([0-9.]+)', answers)]
    assert '"state":"running"' in answers
    assert percents == sorted(percents)
    assert len(set(percents)) > 2
    assert '"state":"succeeded","done":true' in answers.rsplit("\n", 1)[-1] + answers


def test_stops_everything_and_keeps_the_data(tmp_path):
    """Ctrl-C stops all processes; the next start has the tasks of the previous run."""
    with running_dev(tmp_path / "run") as dev:
        submission = {"name": "demo.add", "args": [2, 3]}
        task_id = requests.post(f"{dev.url}/tasks", json=submission, timeout=5).json()["id"]
        parts = dev.parts()
        assert len(parts) == 3
        assert dev.end() == 0
    assert all(has_ended(pid) for pid in parts)
    with running_dev(tmp_path / "run") as dev:
        read = lambda: requests.get(f"{dev.url}/tasks/{task_id}", timeout=5).json()  # noqa: E731 - a condition
        wait_until(lambda: read()["done"], what="the task to be done")
        assert read()["result"] == 5


def test_redis_has_users(tmp_path):
    """Redis rejects strangers; the printed URL is for workers; the API may also send to the queues of another app."""
    with running_dev(tmp_path / "run") as dev:
        (url,) = re.findall(r"^Your Celery app can use the same Redis: (\S+)$", dev.output(), re.MULTILINE)
        port = int(url.rpartition(":")[2].split("/")[0])
        with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
        with redis.Redis.from_url(url) as worker:
            with pytest.raises(redis.exceptions.NoPermissionError):
                worker.flushall()
            assert worker.set("key-of-a-task", "1")
        folder = tmp_path / "run"
        assert (folder / "users.acl").stat().st_mode & 0o777 == 0o600
        assert not [
            file
            for file in folder.rglob("*")
            if file.is_file() and urlsplit(url).password in file.read_text(errors="replace")
        ]
        with running_worker("acceptance.guarded_app", "--queues", "mail", redis_url=url, folder=tmp_path):
            submission = {"name": "guarded.sleep", "args": [str(tmp_path / "written"), 0.0], "queue": "mail"}
            submit = lambda: requests.post(f"{dev.url}/tasks?wait=10", json=submission, timeout=15)  # noqa: E731 - a condition
            answer = wait_until(lambda: (answer := submit()).ok and answer, what="the queue to be permitted")
            assert answer.json()["state"] == "succeeded"


def test_a_chosen_redis_keeps_its_users(tmp_path, monkeypatch):
    """A Redis that was running before is used as it is, and its password is not printed."""
    with running_redis_with_users(tmp_path / "chosen", queues=["demo"], password="a-secret") as server:
        with server.client() as client:
            before = client.acl_list()
        monkeypatch.setenv("TASK_STATUS_REDIS_URL", server.url)
        with running_dev(tmp_path / "run") as dev:
            assert "a-secret" not in dev.output()
            assert requests.get(f"{dev.url}/readyz", timeout=5).ok
        with server.client() as client:
            assert client.acl_list() == before


def test_long_lines(tmp_path):
    """A part that prints very long lines does not block, because its output is always read."""
    with running_dev(tmp_path / "run") as dev:

        def run(name: str, **kwargs: str) -> None:
            submission = {"name": name, "kwargs": kwargs}
            state = requests.post(f"{dev.url}/tasks?wait=10", json=submission, timeout=15).json()["state"]
            assert state == "failed"

        for number in range(5):
            run("demo.fail", message=f"{number} " + "x" * 200_000 + f" {number} ends")
        wait_until(lambda: "4 ends" in dev.output(), what="the last line")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends the children of a killed process")
def test_kill_ends_all_processes(tmp_path):
    """If the command is killed, the processes that it started end too."""
    with running_dev(tmp_path / "run") as dev:
        parts = dev.parts()
        dev.end(signal.SIGKILL)
        wait_until(lambda: all(has_ended(pid) for pid in parts), what="the parts to end")


def test_crash_of_a_part_stops_all(tmp_path):
    """If a part crashes, the error names it, and the other parts are stopped."""
    with running_dev(tmp_path / "run") as dev:
        parts = dev.parts()
        os.kill(parts[0], signal.SIGKILL)
        assert dev.process.wait(40) == 1
        last = dev.output().strip().rsplit("\n", 1)[-1]
        assert re.fullmatch(r"Error: redis ended unexpectedly, with exit code -9; .*redis.log says why\.", last)
    assert all(has_ended(pid) for pid in parts)


def test_each_request_is_logged(tmp_path):
    """A request appears as one line with method, path, status and milliseconds, without its query."""
    with running_dev(tmp_path / "run") as dev:
        requests.get(f"{dev.url}/tasks/unknown-task?wait=0", timeout=5)
        line = re.compile(r"^api +\| GET /tasks/unknown-task 404 \d+ ms$", re.MULTILINE)
        wait_until(lambda: line.search(dev.output()), what="the log line of the request")


def test_reload(tmp_path):
    """After a change of the code, new processes of the worker and the API run, also if the API had crashed."""
    with running_dev(tmp_path / "run", "--reload") as dev:
        redis, worker, api = dev.parts()
        os.kill(api, signal.SIGKILL)
        wait_until(lambda: "starts again after a change" in dev.output(), what="the line about the crash")
        assert dev.process.poll() is None
        os.utime(Path(task_status_worker.__file__).parent / "demo.py")
        wait_until(lambda: has_ended(worker) and len(dev.parts()) == 3, timeout=60, what="the restart")
        wait_until(lambda: dev.output().count("ready.\n") == 2, timeout=60, what="the new worker")
        assert dev.parts()[0] == redis
        submission = {"name": "demo.add", "args": [2, 3]}
        assert requests.post(f"{dev.url}/tasks?wait=10", json=submission, timeout=15).json()["result"] == 5


def test_port_in_use(tmp_path):
    """A port in use causes a one-line error that suggests another port."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        dev = Dev(tmp_path / "run", port=port)
        assert dev.process.wait(20) == 1
    assert dev.output().strip() == f"Error: Port {port} is in use. Choose another one: make run PORT={port + 1}"


def test_folder_in_use(tmp_path):
    """A second start with the same data folder exits with an error: two would destroy the data."""
    with running_dev(tmp_path / "run"):
        second = Dev(tmp_path / "run", port=free_port())
        assert second.process.wait(20) == 1
    assert second.output().startswith("Error: Another task-status runs on the data in")
