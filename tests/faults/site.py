"""One Redis that keeps what it has answered, one service, and the workers that a scenario starts beside them."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from support.servers import RedisServer, Server, Worker, wait_until, worker_process

from faults.checker import BOUND_SECONDS, Promise, Totals, Violation, check, totals
from faults.client import Client
from faults.history import Answer, Fault, Recorder
from faults.load import settle
from faults.size import SIZE
from faults.truth import Deed, now, read_truth

#: the app whose tasks say what they did
APP = "faults.tasks"
#: seconds for a worker or a server to end by itself; what waits for a gate never does
PATIENCE_SECONDS = 3.0


class Site:
    """Where one scenario takes place."""

    def __init__(
        self, folder: Path, redis: RedisServer, server: Server, recorder: Recorder, checked: Callable[[Totals], None]
    ) -> None:
        """Take the parts, and who is told what was checked."""
        self.folder = folder
        self.redis = redis
        self.server = server
        self.recorder = recorder
        self.truth = folder / "truth.jsonl"
        self._checked = checked
        self._gates = 0

    def connect(self) -> Client:
        """Make a client, for one thread."""
        return Client(self.server.url, self.recorder)

    @contextlib.contextmanager
    def worker(self, name: str, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Worker]:
        """Run a worker from when its task types may be submitted."""
        with self._started(name, *options, environ=environ) as worker:
            self._wait_until_ready()
            yield worker

    @contextlib.contextmanager
    def supervised_worker(
        self, name: str, *options: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[Callable[[], int]]:
        """Run a worker that is started again whenever it ends; give what tells how often it ended by itself."""
        ended = 0
        stopped = threading.Event()

        def supervise() -> None:
            nonlocal ended
            while not stopped.is_set():
                with contextlib.suppress(AssertionError), self._started(name, *options, environ=environ) as worker:
                    while worker.process.poll() is None and not stopped.wait(0.05):
                        pass
                if not stopped.is_set():
                    ended += 1
                    self.recorder.fault("worker ended by itself", f"{APP}@{name}")

        thread = threading.Thread(target=supervise, daemon=True)
        thread.start()
        try:
            self._wait_until_ready()
            yield lambda: ended
        finally:
            stopped.set()
            thread.join()

    @contextlib.contextmanager
    def _started(self, name: str, *options: str, environ: Mapping[str, str] | None) -> Iterator[Worker]:
        with worker_process(
            APP,
            *options,
            redis_url=self.redis.url,
            folder=self.folder,
            name=name,
            environ={"FAULTS_TRUTH": str(self.truth), **(environ or {})},
            patience_seconds=PATIENCE_SECONDS,
        ) as worker:
            yield worker

    def _wait_until_ready(self) -> None:
        with contextlib.closing(self.connect()) as client:
            wait_until(lambda: client.ready().status == 200, what="ready")

    def gate(self) -> Path:
        """Name a file that tasks wait for: it is not there yet."""
        self._gates += 1
        return self.folder / f"gate-{self._gates}"

    def deeds(self) -> list[Deed]:
        """Give what the tasks did so far."""
        return read_truth(self.truth)

    def wait_for_deeds(self, what: str, task_ids: list[str], *, seconds: float = 60.0) -> None:
        """Wait until each of these tasks has started, or finished."""

        def left() -> set[str]:
            return set(task_ids) - {deed.task_id for deed in self.deeds() if deed.what == what}

        wait_until(lambda: not left(), timeout=seconds, what=f"{len(task_ids)} tasks to be {what}")

    def wait_until_quiet(self, *, seconds: float = 3.0) -> None:
        """Wait until no task has done anything for so long."""
        wait_until(lambda: now() - max((deed.at for deed in self.deeds()), default=0.0) > seconds, what="quiet")

    def accepted(self) -> list[str]:
        """Give the ids that a client was promised, in the order in which they were."""
        return list(dict.fromkeys(status.id for answer in self.answers() if (status := answer.accepted)))

    def settle(self, client: Client, *, seconds: float) -> list[str]:
        """Wait until all that was accepted has ended or is lost; give what has not in so many seconds."""
        return settle(client, self.accepted(), seconds=seconds)

    def struck(self, what: str) -> int:
        """Tell how often the nemesis did this."""
        return sum(isinstance(event, Fault) and event.what == what for event in self.recorder.history())

    def answers(self) -> list[Answer]:
        """Give every answer so far."""
        return [event for event in self.recorder.history() if isinstance(event, Answer)]

    def violations(self, promise: Promise | None = None) -> list[Violation]:
        """Check the whole scenario."""
        history = self.recorder.history()
        promise = promise or promised()
        found = check(history, self.deeds(), promise)
        self._checked(totals(history, found, promise))
        return found


def promised(**other: Any) -> Promise:
    """Give what every scenario promises, on a machine of this size, but for what is said here."""
    return Promise(bound_seconds=BOUND_SECONDS + SIZE.slack_seconds, **other)
