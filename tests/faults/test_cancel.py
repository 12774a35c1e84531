"""A task canceled before its start never runs, on any worker and at any time."""

import time

from support.servers import wait_until

from faults.checker import Promise, explain
from faults.client import Client
from faults.history import StatusEvent
from faults.load import wait_until_ended
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

_TERMINATED_SECONDS = 2.0


def _submitted(client: Client, count: int, name: str = "faults.work", *args: object) -> list[str]:
    return [client.submit(name, *args).accepted.id for _ in range(count)]


def _cancel(client: Client, task_ids: list[str], *, terminate: bool = False) -> list[StatusEvent]:
    answers = [client.cancel(task_id, terminate=terminate) for task_id in task_ids]
    assert {answer.status for answer in answers} == {202}
    return [answer.seen[0] for answer in answers]


def test_cancel_without_a_worker(site: Site, client: Client, count: Counter) -> None:
    """A worker that starts after the cancel does not run the canceled tasks."""
    with site.worker("first"):
        pass  # it has announced its task types
    task_ids = _submitted(client, SIZE.canceled // 2)
    assert {status.state for status in _cancel(client, task_ids)} == {"canceling"}
    with site.worker("second", "--concurrency", "2"):
        wait_until_ended(client, task_ids, seconds=60)
        count("tasks canceled while no worker was running: executed", _ran(site, task_ids), f"0 of {len(task_ids):,}")
        _check_none_ran(site, client, task_ids, promised())


def test_worker_killed_after_the_cancel(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Canceled tasks do not run on a second worker after the first one was killed."""
    environ = {"FAULTS_VISIBILITY_SECONDS": "3"}
    with site.worker("first", "--concurrency", "2", "--prefetch-multiplier", "20", environ=environ) as worker:
        busy = _submitted(client, 2, "faults.hold", str(site.gate()))
        site.wait_for_actions("started", busy)
        task_ids = _submitted(client, SIZE.canceled // 2)
        _cancel(client, task_ids)
        nemesis.kill_worker(worker)
    with site.worker("second", "--concurrency", "2", environ=environ):
        wait_until_ended(client, task_ids, seconds=60)
        count(
            "tasks canceled before their worker was killed: executed", _ran(site, task_ids), f"0 of {len(task_ids):,}"
        )
        _check_none_ran(site, client, task_ids, promised(orphaned=busy))


def _ran(site: Site, task_ids: list[str]) -> int:
    return len({action.task_id for action in site.actions()} & set(task_ids))


def _check_none_ran(site: Site, client: Client, task_ids: list[str], promise: Promise) -> None:
    states = {status.state for task_id in task_ids for status in client.read(task_id).seen}
    violations = site.violations(promise)
    assert not violations, explain(violations)
    assert states == {"canceled"}
    assert not _ran(site, task_ids)


def test_cancel_of_running_tasks(site: Site, client: Client, count: Counter) -> None:
    """A running task is terminated on request; a task that reports progress stops at its next report."""
    with site.worker("one", "--concurrency", "4"):
        terminated = _submitted(client, 4, "faults.hold", str(site.gate()))
        site.wait_for_actions("started", terminated)
        begun = time.monotonic()
        _cancel(client, terminated, terminate=True)
        _wait_for_end(client, terminated)
        seconds = time.monotonic() - begun
        cooperative = _submitted(client, 4, "faults.checkpointed", 600)
        site.wait_for_actions("started", cooperative)
        _cancel(client, cooperative)
        _wait_for_end(client, cooperative)
        states = {status.state for task_id in terminated + cooperative for status in client.read(task_id).seen}
    violations = site.violations()
    count("running tasks canceled with `terminate`: the last was `canceled` after", f"{seconds:.1f} s", "≤ 2 s")
    assert not violations, explain(violations)
    assert states == {"canceled"}
    assert seconds < _TERMINATED_SECONDS + SIZE.slack_seconds


def _wait_for_end(client: Client, task_ids: list[str]) -> None:
    wait_until(lambda: all(status.done for status in client.read_many(task_ids).seen), what="the end")
