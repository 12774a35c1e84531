"""The honest tenant: threads that submit, read, list, wait, watch, cancel and retry, and record every answer."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from faults.client import Client

#: seconds for which one submission is repeated: longer than a failover takes
_PATIENCE_SECONDS: Final = 60.0
_WAIT_SECONDS: Final = 1.0


class Honest:
    """Load of one tenant, until it is stopped."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._keys = itertools.count()
        #: ids of the accepted tasks, in the order of their answers
        self.accepted: list[str] = []
        #: ids of the tasks that fail
        self._failing: list[str] = []
        #: descriptions of answers that the checker cannot find wrong
        self.wrong: list[str] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run all threads during a `with` block."""
        jobs = [
            *((self._submit, 0.2), (self._read, 0.04), (self._read_many, 0.5), (self._list, 0.5), (self._wait, 0.2)),
            *((self._watch, 1.0), (self._cancel, 1.0), (self._retry, 2.0)),
        ]
        threads = [threading.Thread(target=self._repeat, args=job, daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _repeat(self, job: Callable[[Client, int], object], pause: float) -> None:
        with contextlib.closing(self._connect()) as client:
            for turn in itertools.count():
                if self._stopped.wait(pause):
                    return
                try:
                    job(client, turn)
                except TimeoutError as error:
                    self.wrong.append(str(error))

    def _newest(self, count: int = 20) -> list[str]:
        with self._lock:
            return self.accepted[-count:]

    def _new(self, client: Client, name: str, *args: Any, **submission: Any) -> str:
        """Submit a task until it is accepted, with one idempotency key."""
        key = f"order-{next(self._keys)}"
        answer = client.submit_until_accepted(name, *args, key=key, seconds=_PATIENCE_SECONDS, **submission)
        assert answer.accepted is not None
        with self._lock:
            self.accepted.append(answer.accepted.id)
        return answer.accepted.id

    def _submit(self, client: Client, turn: int) -> None:
        labels = {"customer": str(turn % 5)}
        if turn % 10 == 3:
            self._failing.append(self._new(client, "faults.fail", labels=labels))
        elif turn % 10 == 7:
            self._new(client, "faults.flaky", 1, labels=labels)
        else:
            self._new(client, "faults.work", 0.02, labels=labels)

    def _read(self, client: Client, turn: int) -> None:
        if newest := self._newest():
            client.read(newest[turn % len(newest)])

    def _read_many(self, client: Client, _turn: int) -> None:
        if newest := self._newest(50):
            client.read_many(newest)

    def _list(self, client: Client, turn: int) -> None:
        """List by each filter; the page of all tasks must contain the newest that were accepted before."""
        before = self._newest(10)
        query = [{}, {"name": "faults.work"}, {"label": f"customer:{turn % 5}"}, {"state": "succeeded"}][turn % 4]
        answer = client.list_tasks(limit=100, **query)
        if answer.status == 200 and not query:
            listed = {status.id for status in answer.seen}
            self.wrong += [f"{task_id} is not listed at {answer.at:.3f}" for task_id in before if task_id not in listed]

    def _wait(self, client: Client, _turn: int) -> None:
        if newest := self._newest(1):
            client.wait(newest[0], seconds=_WAIT_SECONDS)

    def _watch(self, client: Client, _turn: int) -> None:
        task_id = self._new(client, "faults.work", 0.3)
        answers = client.watch(task_id)
        last = answers[-1] if answers else None
        if last and last.status == 200 and last.error is None and not (last.seen and last.seen[0].done):
            self.wrong.append(f"the stream of {task_id} ended before the task, at {last.ended:.3f}")

    def _cancel(self, client: Client, _turn: int) -> None:
        task_id = self._new(client, "faults.work", 0.0, countdown=30)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while client.cancel(task_id).status not in (200, 202, 409) and time.monotonic() < deadline:
            time.sleep(0.2)

    def _retry(self, client: Client, _turn: int) -> None:
        if not self._failing:
            return
        answer = client.retry(self._failing[0], key=f"retry-{next(self._keys)}")
        if answer.accepted:
            self._failing.pop(0)
            with self._lock:
                self.accepted.append(answer.accepted.id)
