"""Tasks of dead or hanging workers are reported in time; those of busy workers stay `alive`."""

import contextlib
import time
from typing import Final

import pytest
from support.servers import wait_until

from faults.checker import explain
from faults.client import Client
from faults.history import StatusEvent
from faults.load import Call, Load, batches
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

STALLED_SECONDS: Final = 20.0
LOST_SECONDS: Final = 65.0
#: Celery looks for dead pool processes every five seconds
CRASHED_SECONDS: Final = 10.0


def _seen(client: Client, task_ids: list[str]) -> list[StatusEvent]:
    return [status for batch in batches(task_ids) for status in client.read_many(batch).seen]


def _wait_for_liveness(client: Client, task_ids: list[str], liveness: str, *, since: float, seconds: float) -> float:
    """Wait until all tasks have this liveness, reading twice a second; return the seconds since `since`."""

    def all_have_it() -> bool:
        time.sleep(0.5)
        seen = _seen(client, task_ids)
        return len(seen) == len(task_ids) and {status.liveness for status in seen} == {liveness}

    wait_until(
        all_have_it, timeout=seconds, what=f"{liveness}: {[status.liveness for status in _seen(client, task_ids)]}"
    )
    return time.monotonic() - since


def test_killed_and_stopped(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Tasks of a killed or stopped worker are `stalled`; those of the healthy and continued workers succeed."""
    gate = site.gate()
    with contextlib.ExitStack() as stack:
        workers = {
            # Separate queues: a worker prefetches messages, and would hold them while another one is idle.
            name: stack.enter_context(site.worker(name, "--concurrency", str(SIZE.orphans), "--queues", name))
            for name in ("killed", "stopped", "healthy")
        }
        of = {
            name: [client.submit("faults.hold", str(gate), queue=name).accepted.id for _ in range(SIZE.orphans)]
            for name in workers
        }
        task_ids = [task_id for mine in of.values() for task_id in mine]
        site.wait_for_actions("started", task_ids)
        _wait_for_liveness(client, task_ids, "alive", since=time.monotonic(), seconds=10)

        with nemesis.worker_stopped(workers["stopped"]):
            since = nemesis.kill_worker(workers["killed"])
            stalled = _wait_for_liveness(
                client, of["killed"] + of["stopped"], "stalled", since=since, seconds=STALLED_SECONDS + 10
            )
        alive = _wait_for_liveness(client, of["stopped"], "alive", since=time.monotonic(), seconds=20)
        gate.touch()
        site.wait_for_actions("finished", of["healthy"] + of["stopped"])
        count("tasks of killed or stopped workers: the last was `stalled` after", f"{stalled:.1f} s", "≤ 20 s")
        count("- tasks of the stopped worker: `alive` again after it continues", f"{alive:.1f} s")
        if SIZE.is_patient:
            lost = _wait_for_liveness(client, of["killed"], "lost", since=since, seconds=LOST_SECONDS + 10)
            count("- tasks of the killed worker: the last was `lost` after", f"{lost:.1f} s", "≤ 65 s")
        wait_until(
            lambda: all(status.done for status in _seen(client, of["healthy"] + of["stopped"])), what="the others"
        )
        succeeded = sum(status.state == "succeeded" for status in _seen(client, of["healthy"] + of["stopped"]))
        count("- tasks of the other workers that are `succeeded`", succeeded, 2 * SIZE.orphans)
    violations = site.violations(promised(orphaned=() if SIZE.is_patient else of["killed"]))
    assert not violations, explain(violations)
    assert succeeded == 2 * SIZE.orphans
    assert stalled < STALLED_SECONDS + SIZE.slack_seconds


@pytest.mark.skipif(not SIZE.is_patient, reason="takes more than a minute")
@pytest.mark.parametrize("site", [{"TASK_STATUS_LOST_FINAL_SECONDS": "60"}], indirect=True)
def test_lost_is_final(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """With TASK_STATUS_LOST_FINAL_SECONDS, tasks of a lost worker are failed permanently."""
    with site.worker("killed", "--concurrency", str(SIZE.orphans)) as worker:
        task_ids = [client.submit("faults.hold", str(site.gate())).accepted.id for _ in range(SIZE.orphans)]
        site.wait_for_actions("started", task_ids)
        since = nemesis.kill_worker(worker)
        wait_until(lambda: all(status.done for status in _seen(client, task_ids)), timeout=90, what="their end")
        seconds = time.monotonic() - since
        ends = [(status.state, status.failure.kind) for status in _seen(client, task_ids) if status.failure]
    violations = site.violations()
    count("tasks of a killed worker, where `lost` is final: the last was `failed` after", f"{seconds:.1f} s", "≤ 75 s")
    assert not violations, explain(violations)
    assert ends == [("failed", "worker_lost")] * SIZE.orphans


def test_task_process_killed(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """A task whose process is killed has failed with `worker_lost`, although its worker is alive."""
    at_once = min(SIZE.crashed, 10)
    slowest = 0.0
    with site.worker("one", "--concurrency", str(at_once)):
        for _ in range(SIZE.crashed // at_once):
            task_ids = [client.submit("faults.hold", str(site.gate())).accepted.id for _ in range(at_once)]
            site.wait_for_actions("started", task_ids)
            begun = time.monotonic()
            for pid in {action.pid for action in site.actions() if action.task_id in task_ids}:
                nemesis.kill_task_process(pid)
            wait_until(lambda: all(status.done for status in _seen(client, task_ids)), what="their end")  # noqa: B023
            slowest = max(slowest, time.monotonic() - begun)
        seen = _seen(client, site.accepted())
        lost = sum(status.state == "failed" and status.failure.kind == "worker_lost" for status in seen)
    violations = site.violations()
    count("tasks whose process was killed that are `failed` (`worker_lost`)", lost, SIZE.crashed)
    count("- the slowest of them after", f"{slowest:.1f} s", "≤ 10 s")
    assert not violations, explain(violations)
    assert lost == SIZE.crashed
    assert slowest < CRASHED_SECONDS + SIZE.slack_seconds


def _spin(_number: int) -> Call:
    return "faults.spin", (3.0,)


def test_busy_workers_are_alive(site: Site, client: Client, count: Counter) -> None:
    """No worker is reported as dead under full load, in pools that leave little time for heartbeats."""
    load = Load(site.connect, _spin, per_second=1)
    with (
        site.worker("processes", "--concurrency", "2"),
        site.worker("threads", "--pool", "threads", "--concurrency", "2"),
        site.worker("solo", "--pool", "solo"),
    ):
        with load.running(submitters=2, followers=4):
            time.sleep(SIZE.full_load_seconds)
        site.wait_until_ended(client, seconds=120)
    violations = site.violations(promised(runs_once=False))
    liveness = [status.liveness for answer in site.answers() for status in answer.seen if status.state == "running"]
    lifeless = sum(value in ("stalled", "lost") for value in liveness)
    count(f"statuses of running tasks read in {SIZE.full_load_seconds:g} s of full load", f"{len(liveness):,}")
    count("- of these `alive`", f"{liveness.count('alive'):,}")
    count("- of these `stalled` or `lost`, falsely", lifeless, 0)
    assert not violations, explain(violations)
    assert not lifeless
    assert liveness.count("alive")
