"""The processes of the chaos test: Redis with users, a replica, sentinels, the service and two workers."""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil
import requests
from support.keys import add_key, bearer
from support.redis_users import PASSWORD, server_with_users
from support.sentinels import NAME, Sentinels, running_replica, start_sentinels
from support.servers import RedisServer, Server, running, server_process, wait_until, worker_process
from task_status_service.store.redis_users import API, SEND, WORKER

from faults.chaos.attacks import HONEST, HOSTILE, Target
from faults.client import Client
from faults.history import Recorder
from faults.nemesis import children_of
from faults.site import PATIENCE_SECONDS

#: seconds in which all attacks of a process prepare their first acts
_BEGIN_SECONDS: Final = 20.0
_REPLICATED_MS: Final = 20_000
_QUICK_SECONDS: Final = 0.5
_QUEUES: Final = ["faults", "hostile"]
#: memory of Redis in bytes, as a small production server has
_MAXMEMORY: Final = 1 << 30


class ChaosSite:
    """The running processes, as the test uses them."""

    def __init__(self, folder: Path, servers: Sequence[RedisServer], sentinels: Sentinels, server: Server) -> None:
        self.folder = folder
        self.servers = servers
        self.sentinels = sentinels
        self.server = server
        self.recorder = Recorder(folder / "history.jsonl")
        self.truth = folder / "truth.jsonl"
        self._keys = {name: add_key(folder / "keys.json", name) for name in (HONEST, HOSTILE)}
        (self.pid,) = [process.pid for process in children_of(server.process.pid)]
        self.peak_rss = 0
        self._stopped = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def connect(self) -> Client:
        """Return a client of the honest tenant, for use in one thread."""
        return Client(self.server.url, self.recorder, api_key=self._keys[HONEST])

    def master(self) -> RedisServer:
        """Return the present master."""
        port = self.sentinels.master_port()
        return next(server for server in self.servers if server.port == port)

    def replicate(self) -> None:
        """Wait until the replica has all present data: attacks may keep it behind, and a failover loses the rest."""
        with self.master().client() as client:
            client.set("written-before-the-failover", "")
            assert client.wait(1, _REPLICATED_MS), "the replica is behind"

    def is_responsive(self) -> bool:
        """Return whether the service and its store answer quickly."""
        try:
            begun = time.monotonic()
            url = f"{self.server.url}/tasks/unknown"
            answer = requests.get(url, headers=bearer(self._keys[HONEST]), timeout=5)
        except requests.RequestException:
            return False
        return answer.status_code == HTTPStatus.NOT_FOUND and time.monotonic() - begun < _QUICK_SECONDS

    def pids(self) -> list[int]:
        """Return the pids of the processes that answer."""
        return [process.pid for process in children_of(self.server.process.pid)]

    @contextlib.contextmanager
    def attacked(self, target: Path, names: Sequence[str], *, rate: float) -> Iterator[Callable[[], dict[str, int]]]:
        """Run a process with some attacks during a `with` block; yield a function that returns how often each acted.

        Each attack acts at most `rate` times per second.
        The block begins when each of them has acted, or could not act for some seconds.
        """
        file = self.folder / f"counts-{names[0]}.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, "-m", "faults.chaos.attacks", str(target), str(file), str(rate), *names]
        environ = {"PYTHONPATH": str(Path(__file__).parents[2])}

        def counts() -> dict[str, int]:
            return dict(msgspec.json.decode(file.read_bytes())) if file.exists() else {}

        with running(command, environ=environ, log=self.folder / "attacks.log", patience_seconds=2):
            # An attack that blocks the service with its preparation never acts.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: _all_act(counts()), timeout=_BEGIN_SECONDS, what=f"{names} to begin")
            yield counts

    def target(self, *, flood: int) -> Path:
        """Issue the tokens of a page of the honest tenant, and return the file for the attackers."""
        with contextlib.closing(self.connect()) as client:
            task_id = client.submit_until_accepted("faults.work", 0.0, key="token", seconds=20).accepted.id
        valid, expired = (self._token(task_id, ttl_seconds=seconds) for seconds in (3_600, 1))
        target = Target(
            url=self.server.url,
            key=self._keys[HOSTILE],
            token=valid,
            expired_token=expired,
            token_task=task_id,
            worker_url=self.sentinels.url(WORKER, PASSWORD),
            sentinel_master=NAME,
            flood=flood,
        )
        path = self.folder / "target.json"
        path.write_bytes(msgspec.json.encode(target))
        return path

    def close(self) -> None:
        self._stopped.set()
        self._sampler.join()
        self.recorder.close()

    def _token(self, task_id: str, **body: Any) -> str:
        url = f"{self.server.url}/tasks/{task_id}/tokens"
        return str(requests.post(url, json=body, headers=bearer(self._keys[HONEST]), timeout=10).json()["token"])

    def _sample(self) -> None:
        while not self._stopped.wait(0.2):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.peak_rss = max(self.peak_rss, psutil.Process(self.pid).memory_info().rss)


def _all_act(counts: Mapping[str, int]) -> bool:
    return bool(counts) and all(counts.values())


@contextlib.contextmanager
def running_chaos_site(folder: Path) -> Iterator[ChaosSite]:
    """Run all processes within a `with` block, which begins when the service is ready."""
    with contextlib.ExitStack() as stack:
        master = server_with_users(folder / "redis-1", queues=_QUEUES, durable=True, replicated=True)
        stack.callback(master.stop)
        master.start()
        replica = stack.enter_context(
            running_replica(master, folder / "redis-2", user="replica", password=PASSWORD, durable=True)
        )
        for server in (master, replica):
            with server.client() as client:
                client.config_set("maxmemory", _MAXMEMORY)
        sentinels = stack.enter_context(start_sentinels(master, folder, user="sentinel", password=PASSWORD))
        add_key(folder / "keys.json", "first")
        environ = {
            "TASK_STATUS_REDIS_URL": sentinels.url(API, PASSWORD),
            "TASK_STATUS_BROKER_URL": sentinels.url(SEND, PASSWORD),
            "TASK_STATUS_SENTINEL_MASTER": NAME,
            "TASK_STATUS_API_KEYS_FILE": str(folder / "keys.json"),
            "TASK_STATUS_RESEND_SECONDS": "10",
        }
        server = stack.enter_context(server_process(environ, folder=folder, patience_seconds=PATIENCE_SECONDS))
        site = ChaosSite(folder, [master, replica], sentinels, server)
        stack.callback(site.close)
        stack.enter_context(_supervised_workers(site))
        wait_until(
            lambda: requests.get(f"{server.url}/readyz", timeout=5).ok, timeout=60, pause=0.2, what="the service"
        )
        yield site


@contextlib.contextmanager
def _supervised_workers(site: ChaosSite) -> Iterator[None]:
    """Run the workers of both tenants, and restart each one that exits, as a supervisor does."""
    stopped = threading.Event()
    apps = {"faults.tasks": 0, "faults.chaos.hostile_tasks": 10}
    threads = [threading.Thread(target=_supervise, args=(site, *app, stopped), daemon=True) for app in apps.items()]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def _supervise(site: ChaosSite, app: str, niceness: int, stopped: threading.Event) -> None:
    environ = {
        "FAULTS_TRUTH": str(site.truth),
        "FAULTS_VISIBILITY_SECONDS": "10",
        "TASK_STATUS_SENTINEL_MASTER": NAME,
    }
    while not stopped.is_set():
        with (
            contextlib.suppress(AssertionError),
            worker_process(
                app,
                *("--concurrency", "2"),
                redis_url=site.sentinels.url(WORKER, PASSWORD),
                folder=site.folder,
                environ=environ,
                patience_seconds=PATIENCE_SECONDS,
            ) as worker,
        ):
            for process in (worker.process.pid, *(child.pid for child in children_of(worker.process.pid))):
                with contextlib.suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, process, niceness)
            while worker.process.poll() is None and not stopped.wait(0.05):
                pass
        if not stopped.is_set():
            site.recorder.fault("worker exited", f"{app}@test")
