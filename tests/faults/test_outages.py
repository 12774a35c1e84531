"""During each outage of Redis all answers are correct and in time; after it the service recovers without a restart."""

import contextlib
import itertools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from support.servers import RedisServer, wait_until

from faults.checker import explain
from faults.client import Client
from faults.history import Answer
from faults.load import Load
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

Outage = Callable[[Nemesis, RedisServer], AbstractContextManager[None]]

#: outages of Redis, by name
OUTAGES: Final[dict[str, Outage]] = {
    "refuses connections": Nemesis.redis_down,
    "is stopped": Nemesis.redis_stalled,
    "holds back all answers": partial(Nemesis.redis_paused, seconds=SIZE.outage_seconds + 3, writes_only=False),
    "holds back answers to writes": partial(Nemesis.redis_paused, seconds=SIZE.outage_seconds + 3, writes_only=True),
    "is full": Nemesis.redis_full,
    "is read-only": Nemesis.redis_read_only,
}
#: outages during which tasks can be read. Reads are scripts, which Redis holds back together with writes
READABLE: Final = frozenset({"is full", "is read-only"})
#: seconds within which the service recovers after an outage
RECOVERY_SECONDS: Final = 1.0


def test_answers_in_time_and_recovers(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Under load, each outage has bounded answers and a fast recovery."""
    load = Load(site.connect, lambda _: ("faults.work", (0.01,)), per_second=25)
    spans: dict[str, tuple[float, float]] = {}
    recoveries: dict[str, float] = {}
    with site.supervised_worker("one", "--concurrency", "2", environ={"FAULTS_VISIBILITY_SECONDS": "10"}):
        with load.running(submitters=8, followers=4), contextlib.closing(site.connect()) as observer:
            wait_until(lambda: load.accepted, what="the first task")
            for name, make in OUTAGES.items():
                begun = time.monotonic()
                with make(nemesis, site.redis):
                    _probe(observer, client, load.accepted[0], seconds=SIZE.outage_seconds)
                    spans[name] = (begun, time.monotonic())
                recoveries[name] = _seconds_until_healthy(client, load.accepted[0])
                time.sleep(1)
        site.wait_until_ended(client, seconds=90)
    violations = site.violations(promised(runs_once=False))
    answers = site.answers()
    for name, (begun, ended) in spans.items():
        during = [answer for answer in answers if begun <= answer.at < ended]
        _count_outage(count, name, during, recoveries[name])
    count("- broken promises", len(violations), 0)
    assert not violations, explain(violations)
    for name, (begun, ended) in spans.items():
        # A check of /readyz answers for a second.
        begins = {"ready": begun + 1.5}
        during = [
            answer
            for answer in answers
            if begins.get(answer.operation, begun + 0.5) <= answer.at and answer.ended <= ended
        ]
        _check_outage(name, during)
        assert recoveries[name] < RECOVERY_SECONDS + SIZE.slack_seconds, (name, recoveries[name])


def _probe(observer: Client, reader: Client, task_id: str, *, seconds: float) -> None:
    """Read /livez and /readyz, and beside them a task, for `seconds`: followers of the load may pause for longer."""

    def observe() -> None:
        observer.live()
        observer.ready()

    def repeat(read: Callable[[], object]) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            read()
            time.sleep(0.1)

    with ThreadPoolExecutor() as threads:
        list(threads.map(repeat, (observe, partial(reader.read, task_id))))


def _seconds_until_healthy(client: Client, task_id: str) -> float:
    """Return the seconds until both a read and a submission succeed."""
    begun = time.monotonic()
    wait_until(
        lambda: client.read(task_id).status == 200 and client.submit("faults.work", 0.0).status == 202,
        what="recovery",
    )
    return time.monotonic() - begun


def _count_outage(count: Counter, name: str, during: list[Answer], recovery: float) -> None:
    seconds = sorted(answer.seconds for answer in during)
    slowest = f"{seconds[-1]:.2f} s, p99 {seconds[int(len(seconds) * 0.99)]:.2f} s"
    count(f"Redis {name} for {SIZE.outage_seconds:g} s: slowest of {len(during):,} responses", slowest, "≤ 2 s")
    by_status = itertools.groupby(sorted(str(answer.status) for answer in during))
    count("- by status", ", ".join(f"{status}: {len(list(those)):,}" for status, those in by_status))
    count("- reads and submissions succeed again after", f"{recovery:.2f} s", f"≤ {RECOVERY_SECONDS:g} s")


def _check_outage(name: str, during: list[Answer]) -> None:
    """Check the answers during an outage."""
    of = {
        operation: {(answer.status, answer.problem) for answer in during if answer.operation in operations}
        for operation, operations in {
            "live": ("live",),
            "ready": ("ready",),
            "read": ("read", "batch"),
            "submit": ("submit",),
        }.items()
    }
    assert of["live"] == {(200, None)}, name
    if name in READABLE:
        assert of["read"] == {(200, None)}, (name, of)
    else:
        assert of["read"] == {(503, "store-unavailable")}, (name, of)
        assert of["ready"] == {(503, "not-ready")}, (name, of)
        assert all(
            any(fault.startswith("store:") for fault in answer.faults)
            for answer in during
            if answer.status == 503 and answer.operation == "ready"
        ), name
    wanted = "store-full" if name == "is full" else "store-unavailable"
    assert of["submit"] == {(503, wanted)}, (name, of)
