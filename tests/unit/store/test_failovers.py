"""Failovers in the replies to INFO: those that may have lost tasks are reported, and nothing else is."""

from datetime import UTC, datetime, timedelta

import pytest
from task_status_service.store.failovers import Failovers

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NONE = "0" * 40


class World:
    """A master, and a process that reads its INFO once a second."""

    def __init__(self):
        self.now = NOW
        self.failovers = Failovers(now=lambda: self.now)

    def read(self, history, offset, *, old=NONE, kept=-1, role="master"):
        info = {"role": role, "master_replid": history, "master_repl_offset": str(offset)}
        self.failovers.receive(info | {"master_replid2": old, "second_repl_offset": str(kept + 1 if kept >= 0 else -1)})
        self.now += timedelta(seconds=1)

    @property
    def warnings(self):
        return self.failovers.warnings(since=self.now - timedelta(days=1))


def test_a_failover_is_reported_with_the_time_of_the_last_shared_read(caplog):
    """The warning names the moments between which tasks may be lost; the epoch gets a mark."""
    world = World()
    for offset in (100, 200, 300):
        world.read("a" * 40, offset)
    assert (world.warnings, world.failovers.mark) == ([], "")
    world.read("b" * 40, 260, old="a" * 40, kept=250)
    [warning] = world.warnings
    assert "between 2026-01-02T03:04:06Z and 2026-01-02T03:04:08Z" in warning
    assert "50 bytes" in warning
    assert world.failovers.mark == "/aaaaaaaa:250"
    for _ in range(3):
        world.read("b" * 40, 270, old="a" * 40, kept=250)
    assert caplog.text.count("Redis has failed over") == 1
    world.now += timedelta(days=1)
    assert world.warnings == []
    assert world.failovers.mark == "/aaaaaaaa:250"


def test_all_processes_have_the_same_mark():
    """A process that starts after a failover has the same mark, and reports nothing."""
    world = World()
    world.read("b" * 40, 260, old="a" * 40, kept=250)
    assert (world.warnings, world.failovers.mark) == ([], "/aaaaaaaa:250")


def test_a_second_failover_has_another_mark():
    """Each failover changes the mark; the warning is about the last one."""
    world = World()
    world.read("a" * 40, 100)
    world.read("b" * 40, 120, old="a" * 40, kept=110)
    world.read("c" * 40, 140, old="b" * 40, kept=130)
    [warning] = world.warnings
    assert "between 2026-01-02T03:04:06Z and 2026-01-02T03:04:07Z" in warning
    assert world.failovers.mark == "/bbbbbbbb:130"


def test_an_unseen_failover_is_reported_with_the_next():
    """A process that read nothing during a failover reports the time since its last read."""
    world = World()
    world.read("a" * 40, 100)
    world.read("c" * 40, 140, old="b" * 40, kept=130)
    assert "between 2026-01-02T03:04:05Z and 2026-01-02T03:04:06Z" in world.warnings[0]


@pytest.mark.parametrize(
    "change",
    [
        {"history": "b" * 40, "offset": 0},
        {"history": "a" * 40, "offset": 500},
        {"history": "b" * 40, "offset": 90, "old": "a" * 40, "kept": 90, "role": "slave"},
    ],
    ids=["a restart with another history", "more writes", "a demoted master"],
)
def test_nothing_else_is_reported(change):
    """A restart is no failover: the epoch shows whether its data is there."""
    world = World()
    world.read("a" * 40, 100)
    world.read(**change)
    assert (world.warnings, world.failovers.mark) == ([], "")


@pytest.mark.parametrize(
    "info", [{}, {"role": "master"}, {"role": "master", "master_replid": "a", "second_repl_offset": "?"}]
)
def test_unreadable_info_is_ignored(info):
    """INFO may be forbidden, or come from another server."""
    failovers = Failovers(now=lambda: NOW)
    failovers.receive(info)
    assert failovers.mark == ""
