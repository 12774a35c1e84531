"""Walks through the list on a real Redis while tasks change: no task is missed or returned twice."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from support.expiry import expire_now
from support.servers import RedisServer
from task_status_service.status import TaskState
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.use_cases.listing import Filter, Position
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

NAMES = st.sampled_from(["demo.add", "demo.mul"])
LABELS = st.sampled_from([{"a": "1"}, {"a": "2"}, {"a": "1", "b": "1"}])
OWNERS = st.sampled_from([None, "x", "y"])
FILTERS = st.fixed_dictionaries(
    {"owner": OWNERS},
    optional={
        "states": st.lists(st.sampled_from(TaskState), min_size=1, max_size=3, unique=True),
        "name": NAMES,
        "labels": st.sampled_from([{"a": "1"}, {"b": "1"}, {"a": "1", "b": "1"}, {"a": "3"}]),
    },
).map(lambda fields: Filter(**fields))

STATES = {
    Fact.SUBMITTED: TaskState.QUEUED,
    Fact.STARTED: TaskState.RUNNING,
    Fact.RETRYING: TaskState.RETRYING,
    Fact.FINISHED: TaskState.SUCCEEDED,
    Fact.REJECTED: TaskState.FAILED,
}


class Listed(msgspec.Struct):
    """The model of one task."""

    name: str
    labels: Mapping[str, str]
    owner: str | None
    state: TaskState = TaskState.QUEUED

    def fits(self, wanted: Filter) -> bool:
        return (
            wanted.owner in (None, self.owner)
            and (not wanted.states or self.state in wanted.states)
            and wanted.name in (None, self.name)
            and wanted.labels.items() <= self.labels.items()
        )


class Walk(msgspec.Struct):
    """A walk from page to page."""

    wanted: Filter
    limit: int
    #: tasks that have fitted the filter since the walk began
    owed: set[str]
    seen: list[str] = []
    after: Position | None = None


class Listing(RuleBasedStateMachine):
    """Submissions, changes, expiries and walks in any order, on one store and its model."""

    url: str
    walks = Bundle("walks")

    def __init__(self) -> None:
        super().__init__()
        self.store = RedisStore(
            connect_to(self.url, sentinel_master=""), results=None, keys=Keys(), retention=Retention()
        )
        self.client: Any = connect_to(self.url, sentinel_master="")
        self.client.flushall()
        self.tasks: dict[str, Listed] = {}
        self.under_way: list[Walk] = []
        self.count = 0

    def teardown(self) -> None:
        self.store.close()
        self.client.close()

    @initialize(tasks=st.lists(st.tuples(NAMES, LABELS, OWNERS), max_size=12))
    def begin(self, tasks: list[tuple[str, dict[str, str], str | None]]) -> None:
        for name, labels, owner in tasks:
            self.submit(name, labels, owner, "m")

    @rule(name=NAMES, labels=LABELS, owner=OWNERS, first=st.sampled_from("aZ-"))
    def submit(self, name: str, labels: dict[str, str], owner: str | None, first: str) -> None:
        # Many fall into one millisecond, and a later one may have a lower id.
        self.count += 1
        task_id = f"{first}{self.count}"
        self.store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, name=name, labels=labels, owner=owner))
        self.tasks[task_id] = Listed(name, labels, owner)

    @rule(data=st.data(), fact=st.sampled_from(sorted(STATES)))
    def change(self, data: st.DataObject, fact: Fact) -> None:
        if not self.tasks:
            return
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        self.store.note(Note(task_id=task_id, fact=fact, outcome="SUCCESS" if fact is Fact.FINISHED else None))
        task = self.tasks[task_id]
        if task.state in (TaskState.SUCCEEDED, TaskState.FAILED):
            return
        if fact is not Fact.SUBMITTED and (fact is not Fact.STARTED or task.state is not TaskState.RETRYING):
            task.state = STATES[fact]
        self._drop_tasks_that_no_longer_fit()

    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        """Let a record expire, and the index drop it with the next note."""
        if not self.tasks:
            return
        task_id = data.draw(st.sampled_from(sorted(self.tasks)))
        del self.tasks[task_id]
        expire_now(self.client, Keys(), task_id)
        self.submit("demo.add", {"a": "1"}, "x", "m")
        self._drop_tasks_that_no_longer_fit()

    def _drop_tasks_that_no_longer_fit(self) -> None:
        for walk in self.under_way:
            walk.owed = {one for one in walk.owed if one in self.tasks and self.tasks[one].fits(walk.wanted)}

    @rule(target=walks, wanted=FILTERS, limit=st.integers(1, 4))
    def begin_walk(self, wanted: Filter, limit: int) -> Walk:
        walk = Walk(wanted, limit, {task_id for task_id, task in self.tasks.items() if task.fits(wanted)})
        self.under_way.append(walk)
        return self._step(walk)

    @rule(walk=walks)
    def continue_walk(self, walk: Walk) -> None:
        if walk.after is not None:
            self._step(walk)

    @rule(walk=consumes(walks))
    def finish(self, walk: Walk) -> None:
        while walk.after is not None:
            self._step(walk)

    def _step(self, walk: Walk) -> Walk:
        page = self.store.page(walk.wanted, limit=walk.limit, after=walk.after)
        assert len(page.task_ids) <= walk.limit
        for task_id in page.task_ids:
            assert self.tasks[task_id].fits(walk.wanted), "every returned task fits now"
        walk.seen += page.task_ids
        walk.after = page.next
        assert len(set(walk.seen)) == len(walk.seen), "no task is returned twice"
        if walk.after is None:
            assert walk.owed <= set(walk.seen), "no task that always fitted is missed"
            self.under_way.remove(walk)
        return walk

    @invariant()
    def each_task_is_in_the_index_once(self) -> None:
        found: list[str] = []
        after = None
        while True:
            page = self.store.page(Filter(), limit=200, after=after)
            found += page.task_ids
            after = page.next
            if after is None:
                break
        assert sorted(found) == sorted(self.tasks)


@pytest.mark.timeout(300)
def test_a_walk_misses_nothing(redis_server: RedisServer) -> None:
    """No change between two pages makes a walk miss a task or return it twice."""
    machine = type("ListingHere", (Listing,), {"url": redis_server.url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
