"""Load during a fault: threads that submit at a steady rate, and threads that read the accepted tasks."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from faults.client import Client

#: maximum number of ids in one read
BATCH: Final = 100
#: number of the newest tasks that are read, seconds between two reads, and reads per batch read
_NEWEST: Final = 20
_READ_SECONDS: Final = 0.05
_READS_PER_BATCH: Final = 20
#: task name and arguments of a submission
Call = tuple[str, Sequence[Any]]
_LOST: Final = "lost"


class Load:
    """Threads that submit tasks and read them, until they are stopped."""

    def __init__(self, connect: Callable[[], Client], calls: Callable[[int], Call], *, per_second: float) -> None:
        """Create the load; `calls` returns the submission of a given number."""
        self._connect = connect
        self._calls = calls
        self._per_second = per_second
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        #: ids of the accepted tasks, in the order of their answers
        self.accepted: list[str] = []

    @contextmanager
    def running(self, *, submitters: int, followers: int) -> Iterator[None]:
        """Submit and read tasks during a `with` block."""
        jobs = [self._submit_steadily] * submitters + [self._follow] * followers
        begun = time.monotonic()
        threads = [threading.Thread(target=self._until_stopped, args=(job, begun), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _until_stopped(self, job: Callable[[Client, float], None], begun: float) -> None:
        client = self._connect()
        try:
            job(client, begun)
        finally:
            client.close()

    def _submit_steadily(self, client: Client, begun: float) -> None:
        while True:
            number = next(self._numbers)
            # Timed by the clock, not by the last answer: submissions delayed by an outage follow at once after it.
            if self._stopped.wait(max(0.0, begun + number / self._per_second - time.monotonic())):
                return
            name, args = self._calls(number)
            if (status := client.submit(name, *args).accepted) is not None:
                with self._lock:
                    self.accepted.append(status.id)

    def _follow(self, client: Client, _begun: float) -> None:
        """Read the oldest and the newest of the last tasks, and once a second all of them in a batch."""
        for turn in itertools.count():
            if self._stopped.wait(_READ_SECONDS):
                return
            with self._lock:
                newest = self.accepted[-_NEWEST:]
            if not newest:
                client.live()
                continue
            client.read(newest[0])
            client.read(newest[-1])
            if turn % _READS_PER_BATCH == 0:
                client.read_many(newest)


def batches(task_ids: list[str]) -> Iterator[list[str]]:
    """Split a list of ids into batches for one read each."""
    for start in range(0, len(task_ids), BATCH):
        yield task_ids[start : start + BATCH]


def wait_until_ended(client: Client, task_ids: Sequence[str], *, seconds: float) -> list[str]:
    """Read tasks until each has ended or is lost, and once more; return those that have not within `seconds`."""
    deadline = time.monotonic() + seconds
    left = list(dict.fromkeys(task_ids))
    while left and time.monotonic() < deadline:
        left = [task_id for batch in batches(left) for task_id in _not_ended(client, batch)]
        time.sleep(0.1)
    for batch in batches(list(dict.fromkeys(task_ids))):
        client.read_many(batch)
    return left


def _not_ended(client: Client, batch: list[str]) -> list[str]:
    answer = client.read_many(batch)
    ended = {status.id for status in answer.seen if status.done or status.liveness == _LOST}
    return [task_id for task_id in batch if task_id not in ended]
