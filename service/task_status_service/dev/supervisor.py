"""Run Redis, a worker with the demo tasks and the API in one terminal, for development.

Each part starts when the previous one answers. The parts stop in reverse order, so that none logs errors about
a part that has already stopped.
"""

import asyncio
import contextlib
import fcntl
import http
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import click

from task_status_service.dev.code_changes import code_changes
from task_status_service.dev.part import Part, label
from task_status_service.dev.redis_access import OwnRedis, RedisAccess, given_redis
from task_status_service.dev.redis_server import find_redis_server, redis_command
from task_status_service.errors import TaskStatusError
from task_status_service.store.queue_permissions import QueuePermissions

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 60.0
#: seconds between two reads of the queues that workers announce
_PERMIT_SECONDS: Final = 0.5

#: the parts that run code of this project
_PARTS: Final = {
    "worker": [
        *(sys.executable, "-m", "celery", "-q", "-A", "task_status_worker.demo", "worker", "--loglevel", "INFO"),
        # Each of these would wait one second for other workers.
        *("--without-mingle", "--without-gossip"),
    ],
    "api": [sys.executable, "-m", "task_status_service.cli", "serve"],
}

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
Your Celery app can use the same Redis: {{worker_url}}
Ctrl-C stops everything.
"""


class DevError(TaskStatusError):
    """The development servers could not run."""


def run(*, port: int, folder: Path, reload: bool = False) -> None:
    """Run until Ctrl-C; with `reload`, restart the worker and the API after each change of their code.

    Raises:
        DevError: A port is in use, or a part did not start or ended unexpectedly.
        RedisServerMissing: No Redis server is installed.
        ReloadMissing: watchfiles is not installed, and `reload` needs it.
    """
    changes = code_changes() if reload else None
    _require_free(port)
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder):
        asyncio.run(_run(port, folder, changes))


async def _run(port: int, folder: Path, changes: AsyncIterator[Path] | None) -> None:
    await _Session(port, folder, changes).run()


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

    def __init__(self, port: int, folder: Path, changes: AsyncIterator[Path] | None) -> None:
        self._port = port
        self._folder = folder
        #: the changed files; None if the parts are not restarted
        self._changes = changes
        self._url = f"http://{HOST}:{port}"
        self._ready = False
        #: set once: None by a signal, an error by a part that ended
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Start the parts in order, wait for the end, stop them in reverse order."""
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self._end)
        async with contextlib.AsyncExitStack() as stack:
            url = os.environ.get("TASK_STATUS_REDIS_URL")
            access = given_redis(url) if url else await self._start_redis(stack)
            parts = [self._part(name, access) for name in _PARTS]
            for part in parts:
                await self._start(part, stack)
            if await self._reaches(self._is_ready, "The worker and the API were not ready"):
                self._ready = True
                click.echo(TRY_THIS.format(url=self._url, worker_url=access.shown_url))
                await self._wait_for_end(parts)
            click.echo("Stopping ...")

    def _part(self, name: str, access: RedisAccess) -> Part:
        environ = {
            "TASK_STATUS_ACCESS_LOG": "yes",
            **os.environ,
            **(access.of_service if name == "api" else access.of_worker),
            "TASK_STATUS_BIND": f"{HOST}:{self._port}",
        }
        return Part(name, _PARTS[name], environ, self._part_ended)

    async def _start(self, part: Part, stack: contextlib.AsyncExitStack) -> None:
        stack.push_async_callback(part.stop)
        await part.start()

    async def _start_redis(self, stack: contextlib.AsyncExitStack) -> RedisAccess:
        """Start a Redis on any free port, with its data and its users in the folder."""
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
        log = (self._folder / "redis.log").resolve()
        users = (self._folder / "users.acl").resolve()
        own = OwnRedis(f"{HOST}:{port}")
        own.write_users(users)
        folder = self._folder.resolve()
        command = redis_command(find_redis_server(), port=port, folder=folder, durable=True, users=users)
        click.echo(f"{label('redis')} on port {port}, with its data and its log in {self._folder}")
        await self._start(Part("redis", [*command, "--logfile", str(log)], os.environ, self._part_ended), stack)
        await self._reaches(lambda: _connects(port), f"Redis (its log is {log}) did not start")
        access = own.access()
        if access.permissions is not None:
            permitting = asyncio.create_task(_permit_announced_queues(access.permissions))
            stack.callback(permitting.cancel)
        return access

    async def _wait_for_end(self, parts: list[Part]) -> None:
        if self._changes is None:
            await self._over
            return
        restarts = asyncio.create_task(self._restart_after_changes(self._changes, parts))
        # An error of the restarts, such as a failure to watch the folders, ends the session too.
        restarts.add_done_callback(self._restarts_ended)
        try:
            await self._over
        finally:
            restarts.cancel()
            await asyncio.wait([restarts])

    async def _restart_after_changes(self, changes: AsyncIterator[Path], parts: list[Part]) -> None:
        async for changed in changes:
            click.echo(f"{changed} changed: the worker and the API restart, the worker after its running tasks.")
            await asyncio.gather(*(part.restart() for part in parts))

    def _restarts_ended(self, restarts: asyncio.Task[None]) -> None:
        if not restarts.cancelled() and (error := restarts.exception()):
            self._end(DevError(f"The code is no longer watched for changes: {error}"))

    def _part_ended(self, name: str, code: int) -> None:
        if self._changes is not None and self._ready and name in _PARTS:
            click.echo(f"{label(name)} ended unexpectedly, with exit code {code}; it starts again after a change.")
            return
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
        """Wait until a condition holds; return False if a signal ends the session first."""
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


async def _permit_announced_queues(permissions: QueuePermissions) -> None:
    """Let the API send to the queues of every Celery app that uses this Redis, until the task is canceled."""
    with contextlib.closing(permissions):
        while True:
            await asyncio.to_thread(permissions.update)
            await asyncio.sleep(_PERMIT_SECONDS)


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
