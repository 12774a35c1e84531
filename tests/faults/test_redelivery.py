"""Duplicate deliveries: of a task that exceeds the visibility timeout, and of one that kills its process."""

import collections

from faults.checker import explain
from faults.client import Client
from faults.report import Counter
from faults.site import Site, promised
from faults.size import SIZE

#: default of `install(app, delivery_limit=…)`
DELIVERY_LIMIT = 5
_LONG_SECONDS = 8.0


def test_message_delivered_to_a_second_worker(site: Site, client: Client, count: Counter) -> None:
    """`executions` counts the start on a second worker while the first one still runs the task."""
    environ = {"FAULTS_VISIBILITY_SECONDS": "3"}
    options = ("--pool", "threads", "--concurrency", str(SIZE.redelivered * 2))
    with site.worker("one", *options, environ=environ), site.worker("two", *options, environ=environ):
        task_ids = [client.submit("faults.late", _LONG_SECONDS).accepted.id for _ in range(SIZE.redelivered)]
        site.wait_until_ended(client, seconds=90)
        # Wait for the duplicate executions to end too.
        site.wait_until_quiet()
        seen = [status for task_id in task_ids for status in client.read(task_id).seen]
    violations = site.violations(promised(runs_once=False))
    starts = collections.Counter(action.task_id for action in site.actions() if action.what == "started")
    agreeing = sum(status.executions == starts[status.id] for status in seen)
    repeated = sum(count > 1 for count in starts.values())
    count("tasks whose message was redelivered while they ran", repeated, SIZE.redelivered)
    count("- of these, `executions` equals the real number of starts", agreeing, SIZE.redelivered)
    assert not violations, explain(violations)
    assert repeated
    assert agreeing == SIZE.redelivered
    assert {status.state for status in seen} == {"succeeded"}


def test_crash_loop(site: Site, client: Client, count: Counter) -> None:
    """A task that kills its process each time fails at the delivery limit."""
    with site.worker("one", "--concurrency", "2"):
        task_id = client.submit("faults.crash").accepted.id
        site.wait_until_ended(client, seconds=60)
        (end,) = client.read(task_id).seen
    violations = site.violations(promised(runs_once=False))
    starts = sum(action.what == "started" for action in site.actions())
    count("starts of a task that kills its process each time, until it is `failed`", starts, f"≤ {DELIVERY_LIMIT}")
    assert not violations, explain(violations)
    assert starts <= DELIVERY_LIMIT
    assert (end.state, end.failure.kind) == ("failed", "worker_lost")
