"""The processes of one scenario: a durable Redis, the service, and the workers that the scenario starts."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from support.servers import RedisServer, Server, Worker, wait_until, worker_process

from faults.checker import BOUND_SECONDS, Promise, Totals, Violation, check, totals
from faults.client import Client
from faults.history import Answer, Fault, Recorder
from faults.load import wait_until_ended
from faults.size import SIZE
from faults.truth import Action, now, read_truth

#: the app whose tasks record their starts and ends
APP = "faults.tasks"
#: seconds that a worker or server has to stop before it is killed; a task that waits for a gate does not stop
PATIENCE_SECONDS = 3.0


class Site:
    """The processes, files and history of one scenario."""

    def __init__(
        self, folder: Path, redis: RedisServer, server: Server, recorder: Recorder, checked: Callable[[Totals], None]
    ) -> None:
        """Create a site; `checked` receives the totals of each check."""
        self.folder = folder
        self.redis = redis
        self.server = server
        self.recorder = recorder
        self.truth = folder / "truth.jsonl"
        self._checked = checked
        self._gates = 0

    def connect(self) -> Client:
        """Return a new client, for use in one thread."""
        return Client(self.server.url, self.recorder)

    @contextlib.contextmanager
    def worker(self, name: str, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Worker]:
        """Run a worker during a `with` block, which begins when the service is ready."""
        with self._started(name, *options, environ=environ) as worker:
            self._wait_until_ready()
            yield worker

    @contextlib.contextmanager
    def supervised_worker(
        self, name: str, *options: str, environ: Mapping[str, str] | None = None
    ) -> Iterator[Callable[[], int]]:
        """Run a worker that is restarted when it exits; yield a function that returns how often it exited."""
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
                    self.recorder.fault("worker exited", f"{APP}@{name}")

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
        """Return the path of a new gate: tasks wait until the file exists."""
        self._gates += 1
        return self.folder / f"gate-{self._gates}"

    def actions(self) -> list[Action]:
        """Return the actions of all tasks so far."""
        return read_truth(self.truth)

    def wait_for_actions(self, what: str, task_ids: list[str], *, seconds: float = 60.0) -> None:
        """Wait until each of these tasks has started, or finished."""

        def left() -> set[str]:
            return set(task_ids) - {action.task_id for action in self.actions() if action.what == what}

        wait_until(lambda: not left(), timeout=seconds, what=f"{len(task_ids)} tasks to be {what}")

    def wait_until_quiet(self, *, seconds: float = 3.0) -> None:
        """Wait until no task has started or finished for `seconds`."""
        wait_until(lambda: now() - max((action.at for action in self.actions()), default=0.0) > seconds, what="quiet")

    def accepted(self) -> list[str]:
        """Return the ids of the accepted tasks, in the order of their answers."""
        return list(dict.fromkeys(status.id for answer in self.answers() if (status := answer.accepted)))

    def wait_until_ended(self, client: Client, *, seconds: float) -> list[str]:
        """Wait until all accepted tasks have ended or are lost; return those that have not within `seconds`."""
        return wait_until_ended(client, self.accepted(), seconds=seconds)

    def fault_count(self, what: str) -> int:
        """Return how often the nemesis caused this fault."""
        return sum(isinstance(event, Fault) and event.what == what for event in self.recorder.history())

    def answers(self) -> list[Answer]:
        """Return all answers so far."""
        return [event for event in self.recorder.history() if isinstance(event, Answer)]

    def violations(self, promise: Promise | None = None) -> list[Violation]:
        """Return the violations in the whole scenario."""
        history = self.recorder.history()
        promise = promise or promised()
        found = check(history, self.actions(), promise)
        self._checked(totals(history, found, promise))
        return found


def promised(**changes: Any) -> Promise:
    """Return the promise of every scenario for the size of this run, with the given changes."""
    return Promise(bound_seconds=BOUND_SECONDS + SIZE.slack_seconds, **changes)
