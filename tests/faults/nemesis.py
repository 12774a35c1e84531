"""The nemesis: kills, stops, pauses and fills processes, and records each fault."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator

import psutil
import redis
from support.servers import RedisServer, Server, Worker, wait_until

from faults.history import Recorder


class Nemesis:
    """The source of the faults of one scenario."""

    def __init__(self, recorder: Recorder, *, seed: int = 4) -> None:
        self._recorder = recorder
        #: time of the last kill or loss of Redis
        self.last_fault_at = 0.0
        self.random = random.Random(seed)  # noqa: S311  # the same sequence in each run

    @contextlib.contextmanager
    def redis_down(self, server: RedisServer) -> Iterator[None]:
        """Kill Redis; start it again with its data at the end of a `with` block."""
        self.last_fault_at = self._recorder.fault("redis killed")
        server.stop()
        try:
            yield
        finally:
            server.start()
            self._recorder.fault("redis started")

    @contextlib.contextmanager
    def redis_stalled(self, server: RedisServer) -> Iterator[None]:
        """Stop the process of Redis during a `with` block: it accepts connections but does not answer."""
        assert server.process is not None
        self._recorder.fault("redis stopped")
        os.kill(server.process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(server.process.pid, signal.SIGCONT)
            self._recorder.fault("redis continued")

    @contextlib.contextmanager
    def redis_paused(self, server: RedisServer, *, seconds: float, writes_only: bool) -> Iterator[None]:
        """Let Redis delay all answers, or those to writes, for `seconds` (CLIENT PAUSE); only time ends the pause."""
        self._recorder.fault("redis paused")
        with server.client() as client:
            client.client_pause(round(seconds * 1000), all=not writes_only)
        try:
            yield
        finally:
            wait_until(lambda: _takes_writes(server), timeout=seconds + 5, what="the end of the pause")
            self._recorder.fault("redis resumed")

    @contextlib.contextmanager
    def redis_full(self, server: RedisServer) -> Iterator[None]:
        """Let Redis reject commands that need memory, during a `with` block."""
        with server.client() as client:
            self._recorder.fault("redis full")
            client.config_set("maxmemory", 1)
            try:
                yield
            finally:
                client.config_set("maxmemory", 0)
                self._recorder.fault("redis no longer full")

    @contextlib.contextmanager
    def redis_read_only(self, server: RedisServer) -> Iterator[None]:
        """Make Redis a replica of an unreachable master during a `with` block: it rejects writes."""
        with server.client() as client:
            self._recorder.fault("redis read-only")
            client.replicaof("127.0.0.1", "1")
            try:
                yield
            finally:
                client.replicaof("NO", "ONE")
                self._recorder.fault("redis writable")

    def redis_forgets(self, server: RedisServer) -> None:
        """Delete all data of Redis."""
        self.last_fault_at = self._recorder.fault("redis emptied")
        with server.client() as client:
            client.flushall()

    def kill_worker(self, worker: Worker) -> float:
        """Kill a worker's main process, and so its pool (PR_SET_PDEATHSIG); return the time."""
        at = self._recorder.fault("worker killed", worker.hostname)
        worker.process.kill()
        worker.process.wait()
        return at

    @contextlib.contextmanager
    def worker_stopped(self, worker: Worker) -> Iterator[None]:
        """Stop a worker's processes during a `with` block, like a machine that hangs."""
        self._recorder.fault("worker stopped", worker.hostname)
        processes = [psutil.Process(worker.process.pid), *children_of(worker.process.pid)]
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill_task_process(self, pid: int) -> None:
        """Kill the pool process that runs a task, as the out-of-memory killer does."""
        self._recorder.fault("task process killed", str(pid))
        os.kill(pid, signal.SIGKILL)

    def kill_server_worker(self, server: Server) -> None:
        """Kill one of gunicorn's workers, with the requests that it was processing."""
        children = children_of(server.process.pid)
        if children:
            victim = self.random.choice(children)
            self._recorder.fault("server worker killed", str(victim.pid))
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()

    def sleep(self, low: float, high: float) -> None:
        """Sleep for a random number of seconds between `low` and `high`."""
        time.sleep(self.random.uniform(low, high))


def children_of(pid: int) -> list[psutil.Process]:
    """Return the running children of a process."""
    try:
        return psutil.Process(pid).children()
    except psutil.NoSuchProcess:
        return []


def _takes_writes(server: RedisServer) -> bool:
    with contextlib.suppress(redis.RedisError), redis.Redis.from_url(server.url, socket_timeout=0.1) as client:
        return bool(client.set("faults:probe", "1", ex=1))
    return False
