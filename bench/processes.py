"""Processes of one run: each on a free port of 127.0.0.1, pinned to a core, ended by its id."""

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import redis
from task_status_service.embedded_redis import find_redis_server, redis_command

#: the server under load has one core for itself; the load tool and Redis share the other
SERVER_CORE, LOAD_CORE = sorted(os.sched_getaffinity(0))[:2]

_START_SECONDS: Final = 20.0


class Server(NamedTuple):
    """One server that answers."""

    url: str
    process_id: int

    @property
    def memory_bytes(self) -> int:
        """Tell what it and its children have in memory: what is shared is told once."""
        process_ids = [self.process_id, *_children(self.process_id)]
        rollups = (Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="utf-8") for process_id in process_ids)
        found = (re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE) for rollup in rollups)
        return sum(int(match[1]) * 1024 for match in found if match)


def _children(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="utf-8")
    return [int(child) for child in children.split()]


def free_port() -> int:
    """Give a TCP port on 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], *, core: int, environ: Mapping[str, str], log: Path) -> Iterator[int]:
    """Run a process on one core for the length of a `with` block, its output in a file; give its id."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603  # our own commands
            ["taskset", "--cpu-list", str(core), *command],  # noqa: S607  # run.py looks for it first
            stdout=output,
            stderr=output,
            env={**os.environ, **environ},
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a real Redis from when it answers; give its URL."""
    port = free_port()
    command = redis_command(find_redis_server(), port=port, folder=folder, durable=False)
    with running(command, core=LOAD_CORE, environ={}, log=folder / "redis.log"):
        url = f"redis://127.0.0.1:{port}/0"
        with redis.Redis.from_url(url) as client:
            wait_until_answers(client.ping, what="Redis")
        yield url


@contextlib.contextmanager
def running_server(name: str, arguments: list[str], *, environ: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Run one server from when it answers anything. `{port}` in the arguments is its port."""
    port = free_port()
    command = [sys.executable, "-m", *(argument.format(port=port) for argument in arguments)]
    log = folder / f"{name}.log"
    environ = {**environ, "TASK_STATUS_BIND": f"127.0.0.1:{port}"}
    with running(command, core=SERVER_CORE, environ=environ, log=log) as process_id:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_answers(lambda: _get(url), what=name)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log ends:\n{log.read_text()[-2000:]}") from None
        yield Server(url, process_id)


def _get(url: str) -> None:
    with contextlib.suppress(urllib.error.HTTPError):
        urllib.request.urlopen(url, timeout=2).close()  # noqa: S310  # our own http:// URL


def wait_until_answers(ask: Callable[[], object], *, what: str) -> None:
    """Call until it does not raise; `TimeoutError` after 20 s."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            ask()
        except (OSError, redis.RedisError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} does not answer: {error}") from None
            time.sleep(0.05)
        else:
            return
