"""Load: threads that submit at a steady rate, and threads that follow what was accepted, while something goes wrong."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from faults.client import Client

#: how many ids one read asks for at most
BATCH: Final = 100
#: how many of the newest are followed, how often, and how often all of them
_FOLLOWED: Final = 20
_TURN_SECONDS: Final = 0.05
_TURNS_PER_BATCH: Final = 20
#: name and arguments of a submission
Call = tuple[str, Sequence[Any]]
_ENDED: Final = "lost"


class Load:
    """Submit and follow tasks until told to stop."""

    def __init__(self, connect: Callable[[], Client], calls: Callable[[int], Call], *, per_second: float) -> None:
        """Take a maker of clients, and what to submit by its number."""
        self._connect = connect
        self._calls = calls
        self._per_second = per_second
        self._numbers = itertools.count()
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        #: accepted, in the order of their answers
        self.accepted: list[str] = []

    @contextmanager
    def running(self, *, submitters: int, followers: int) -> Iterator[None]:
        """Submit and follow for the length of a `with` block."""
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
            # By the clock and not by the answer before: what Redis holds up comes at once when it is back.
            if self._stopped.wait(max(0.0, begun + number / self._per_second - time.monotonic())):
                return
            name, args = self._calls(number)
            if (status := client.submit(name, *args).accepted) is not None:
                with self._lock:
                    self.accepted.append(status.id)

    def _follow(self, client: Client, _begun: float) -> None:
        """Read some of the newest, one by one, and once a second together."""
        for turn in itertools.count():
            if self._stopped.wait(_TURN_SECONDS):
                return
            with self._lock:
                newest = self.accepted[-_FOLLOWED:]
            if not newest:
                client.live()
                continue
            client.read(newest[0])
            client.read(newest[-1])
            if turn % _TURNS_PER_BATCH == 0:
                client.read_many(newest)


def batches(task_ids: list[str]) -> Iterator[list[str]]:
    """Cut a list into what one read may ask for."""
    for start in range(0, len(task_ids), BATCH):
        yield task_ids[start : start + BATCH]


def settle(client: Client, task_ids: Sequence[str], *, seconds: float) -> list[str]:
    """Read these tasks until each has ended or is lost, and once more; give those that have not in so many seconds."""
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
    ended = {status.id for status in answer.seen if status.done or status.liveness == _ENDED}
    return [task_id for task_id in batch if task_id not in ended]
