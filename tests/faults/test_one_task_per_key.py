"""One idempotency key creates one task, also if servers are killed at any moment."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.servers import Server

from faults.checker import explain
from faults.client import Client
from faults.nemesis import Nemesis
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

#: keys that are submitted concurrently
_KEYS_AT_ONCE = 3
#: seconds for one submission to be accepted
_PATIENCE_SECONDS = 120.0


@pytest.mark.parametrize("site", [{"TASK_STATUS_WORKERS": "3"}], indirect=True)
def test_with_servers_killed(site: Site, client: Client, nemesis: Nemesis, count: Counter) -> None:
    """Concurrent submissions with one key, each repeated until accepted, create one task that runs once."""
    local = threading.local()
    clients: list[Client] = []

    def submit(key: str) -> str:
        if not hasattr(local, "client"):
            local.client = site.connect()
            clients.append(local.client)
        answer = local.client.submit_until_accepted("faults.work", 0.0, key=key, seconds=_PATIENCE_SECONDS)
        return answer.accepted.id

    keys = [f"key-{number}" for number in range(SIZE.keys) for _ in range(SIZE.retries)]
    with site.worker("one", "--concurrency", "2"):
        with (
            killing_servers(nemesis, site.server),
            ThreadPoolExecutor(SIZE.retries * _KEYS_AT_ONCE) as pool,
        ):
            task_ids = list(pool.map(submit, keys))
        for each in clients:
            each.close()
        site.wait_until_ended(client, seconds=90)
        recorded = client.ids_named("faults.work")
    violations = site.violations(promised(servers_were_killed=True))
    kills = site.fault_count("server worker killed")
    started = [action.task_id for action in site.actions() if action.what == "started"]
    answers = site.answers()
    unanswered = sum(answer.status is None for answer in answers)
    count(
        f"idempotency keys, each in {SIZE.retries} concurrent submissions, servers killed: tasks",
        len(recorded),
        SIZE.keys,
    )
    count("- of these executed once", len(started), SIZE.keys)
    count("- submissions", f"{sum(answer.operation == 'submit' for answer in answers):,}")
    count("- server processes killed during the test", kills)
    count("- requests without a response", f"{unanswered:,}")
    assert not violations, explain(violations)
    assert len(set(task_ids)) == len(recorded) == len(started) == SIZE.keys
    assert kills


@contextlib.contextmanager
def killing_servers(nemesis: Nemesis, server: Server) -> Iterator[None]:
    """Kill one server process after the other during a `with` block."""
    stopped = threading.Event()

    def kill() -> None:
        while not stopped.wait(nemesis.random.uniform(0.5, 1.5)):
            nemesis.kill_server_worker(server)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
