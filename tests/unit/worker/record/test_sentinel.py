"""The master that Sentinels name: the newest view is right, and no address is returned during a failover."""

import gc
import threading

import pytest
from task_status_worker.record.sentinel import Master, MasterUnknown, View, master_of

FIRST, SECOND, THIRD = ("s1", 1), ("s2", 2), ("s3", 3)
OLD, NEW = ("old", 6379), ("new", 6379)


@pytest.fixture
def master():
    """A master that every Sentinel knows; its threads do not run."""
    master = Master([], "main", timeout_seconds=0.05)
    with pytest.raises(MasterUnknown, match="No Sentinel names a master 'main'"):
        master.address()
    for node in (FIRST, SECOND, THIRD):
        master.receive(node, View(epoch=4, address=OLD))
    return master


def test_the_newest_view_is_right(master, caplog):
    """The Sentinel that led a failover knows the new master first; the others do not undo that."""
    assert master.address() == OLD
    master.receive(SECOND, View(epoch=5, address=NEW))
    assert master.address() == NEW
    master.receive(FIRST, View(epoch=4, address=OLD))
    assert master.address() == NEW
    assert caplog.text.count("Redis has failed over") == 1


def test_no_address_during_a_failover(master):
    """From its start until the promotion, writes would be lost."""
    assert master.receive(SECOND, View(epoch=4, address=OLD, is_failing_over=True)) < 1
    with pytest.raises(MasterUnknown, match="failover of the master 'main' is in progress"):
        master.address()
    master.receive(SECOND, View(epoch=5, address=NEW))
    assert master.address() == NEW


def test_a_failed_failover_ends(master):
    """After an aborted failover the old master remains."""
    master.receive(SECOND, View(epoch=4, address=OLD, is_failing_over=True))
    master.receive(SECOND, View(epoch=4, address=OLD))
    assert master.address() == OLD


def test_sentinels_that_do_not_answer_change_nothing(master):
    """The last named master stays in use; a failover is over when its leader is gone."""
    master.receive(SECOND, View(epoch=4, address=OLD, is_failing_over=True))
    for node in (FIRST, SECOND, THIRD):
        master.receive(node, None)
    assert master.address() == OLD
    # A Sentinel that was set up anew counts from 0.
    master.receive(FIRST, View(epoch=0, address=NEW))
    assert master.address() == NEW


def test_clients_share_a_master_and_its_threads():
    """The clients of one process share the threads, which end with the last client."""
    one, same = (master_of([("127.0.0.1", 1)], "main", timeout_seconds=0.05) for _ in range(2))
    assert one is same
    assert master_of([("127.0.0.1", 1)], "other", timeout_seconds=0.05) is not one
    with pytest.raises(MasterUnknown):
        one.address()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "redis sentinel"]
    del one, same
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()
