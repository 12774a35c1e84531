"""Run Redis, a worker with the demo tasks and the API in one terminal, for development.

Each part starts when the previous one answers. The parts stop in reverse order, so that none logs errors about a part
that has already stopped.
"""

import asyncio
import contextlib
import ctypes
import fcntl
import http
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import click

from task_status_service.dev.redis_server import find_redis_server, redis_command
from task_status_service.errors import TaskStatusError
from task_status_service.redaction import redact

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0

_COLOURS: Final = {"redis": "red", "worker": "green", "api": "cyan"}
_PARTS: Final = {
    "worker": [
        *(sys.executable, "-m", "celery", "-q", "-A", "task_status_worker.demo", "worker", "--loglevel", "INFO"),
        # Each of these would wait one second for other workers.
        *("--without-mingle", "--without-gossip"),
    ],
    "api": [sys.executable, "-m", "task_status_service.cli", "serve"],
}
#: linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1

#: stores the path in the Location header of the response in `T`
_SUBMIT: Final = (
    "T=$(curl -si {url}/tasks -H 'Content-Type: application/json'"
    """ -d '{{"name": "demo.count", "kwargs": {{"total": 50}}}}'"""
    r" | tee /dev/stderr | sed -n 's|^Location: *\([^[:cntrl:]]*\).*|\1|p')"
)
_READ: Final = "curl -s {url}$T"
_FOLLOW: Final = """until curl -s {url}$T | tee /dev/stderr | grep -q '"done":true'; do sleep 1; echo; done"""

TRY_THIS: Final = f"""
task-status answers on {{url}}. Paste these commands in order: submit a task, read its status, poll until it is done.

  {_SUBMIT}
  {_READ}
  {_FOLLOW}

The API in a browser: {{url}}/docs
Your Celery app can use the same Redis: {{redis_url}}
Ctrl-C stops everything.
"""


class DevError(TaskStatusError):
    """The development servers could not run."""


def run(*, port: int, folder: Path) -> None:
    """Run until Ctrl-C.

    Raises:
        DevError: A port is in use, or a part did not start or ended unexpectedly.
        RedisServerMissing: No Redis server is installed.
    """
    _require_free(port)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        asyncio.run(_run(port, folder))


async def _run(port: int, folder: Path) -> None:
    await _Session(port, folder).run()


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise DevError(f"Port {port} is in use. Choose another one: make run PORT={port + 1}") from error


@contextlib.contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Lock the folder: two Redis servers on the same data would destroy it."""
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DevError(
                f"Another task-status runs on the data in {folder}. Stop it, or choose another --folder."
            ) from error
        yield


class _Session:
    """One run of `task-status dev`: its parts, and the event that ends it."""

    def __init__(self, port: int, folder: Path) -> None:
        self._port = port
        self._folder = folder
        self._url = f"http://{HOST}:{port}"
        #: set once: None by a signal, an error by a part that ended
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Start the parts in order, wait for the end, and stop them in reverse order."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        async with contextlib.AsyncExitStack() as parts:
            redis_url = os.environ.get("TASK_STATUS_REDIS_URL") or await self._start_redis(parts)
            environ = {**os.environ, "TASK_STATUS_REDIS_URL": redis_url, "TASK_STATUS_BIND": f"{HOST}:{self._port}"}
            for name, command in _PARTS.items():
                await parts.enter_async_context(self._part(name, command, environ))
            if await self._reaches(self._is_ready, "The worker and the API were not ready"):
                click.echo(TRY_THIS.format(url=self._url, redis_url=redact(redis_url)))
                await self._over
            click.echo("Stopping ...")

    async def _start_redis(self, parts: contextlib.AsyncExitStack) -> str:
        """Start a separate Redis on a free port, with its data in the folder; return its URL."""
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        log = (self._folder / "redis.log").resolve()
        command = redis_command(find_redis_server(), port=port, folder=self._folder.resolve(), durable=True)
        click.echo(f"{_label('redis')} on port {port}, with its data and its log in {self._folder}")
        await parts.enter_async_context(self._part("redis", [*command, "--logfile", str(log)], os.environ))
        await self._reaches(lambda: _connects(port), f"Redis (its log is {log}) did not start")
        return f"redis://{HOST}:{port}/0"

    @contextlib.asynccontextmanager
    async def _part(self, name: str, command: list[str], environ: Mapping[str, str]) -> AsyncIterator[None]:
        """Run one part during a block, with labelled output; if the part ends, all parts end."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**environ, "PYTHONUNBUFFERED": "1"},
            # Only this process receives Ctrl-C, and stops the parts in order.
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
        relay = asyncio.create_task(self._relay(name, process))
        try:
            yield
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_SECONDS)
            # The rest of its process group, such as the children of a killed worker.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            relay.cancel()

    async def _relay(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Print the output of a part, labelled, until the part ends."""
        label = _label(name)
        output = process.stdout
        assert output is not None  # noqa: S101 - stdout is a pipe
        async for line in _lines(output):
            click.echo(f"{label} {line.decode(errors='replace').rstrip()}")
        code = await process.wait()
        where = f"{self._folder / 'redis.log'} says" if name == "redis" else "its last lines above say"
        self._end(DevError(f"{name} ended unexpectedly, with exit code {code}; {where} why."))

    def _end(self, error: DevError | None = None) -> None:
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)

    async def _reaches(self, holds: Callable[[], bool], failure: str) -> bool:
        """Wait until a condition holds; return False if a signal ends the wait."""
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await asyncio.to_thread(holds):
            if self._over.done():
                self._over.result()
                return False
            if asyncio.get_running_loop().time() > deadline:
                raise DevError(f"{failure} within {START_SECONDS:.0f} seconds.")
            await asyncio.sleep(0.1)
        return True

    def _is_ready(self) -> bool:
        try:
            with urlopen(f"{self._url}/readyz", timeout=2) as answer:  # noqa: S310 - our own address
                return bool(answer.status == http.HTTPStatus.OK)
        except OSError:
            return False


async def _lines(output: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield each line; a line above the reader's limit is split, so that the part never blocks on its output."""
    while not output.at_eof():
        try:
            yield await output.readuntil()
        except asyncio.LimitOverrunError as error:
            yield await output.readexactly(error.consumed)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                yield error.partial


def _label(name: str) -> str:
    return click.style(f"{name:<6} |", fg=_COLOURS[name])


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _end_with_parent() -> None:
    """Ask the kernel to end this process if its parent is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
