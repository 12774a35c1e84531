"""Lost messages: what is sent again, and what is not."""

from datetime import timedelta

import pytest
from support.fakes import MemoryBroker, MemoryStore
from task_status_service.access.caller import ANYBODY
from task_status_service.errors import BrokerUnavailable, StoreUnavailable
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.resender import Resender
from task_status_service.use_cases.submission import Submission
from task_status_worker.record.model import Fact, Note

AFTER_SECONDS = 30


@pytest.fixture
def resender(tracker, store, broker):
    """Give one that looks for tasks which no worker has received for half a minute."""
    return Resender(tracker, store, broker, Catalog(store.announcements), after_seconds=AFTER_SECONDS)


@pytest.fixture
def lost_id(submitter, store: MemoryStore, broker: MemoryBroker):
    """Submit a task, lose its message, and let the time pass; give its id."""
    submission = Submission(name="demo.add", args=[1], kwargs={"y": 2}, priority=3, labels={"a": "b"})
    task_id = submitter.submit(submission, ANYBODY).status.id
    broker.sent.clear()
    broker.retries.clear()
    store.time += timedelta(seconds=AFTER_SECONDS + 1)
    return task_id


def test_sends_again_what_was_lost(resender, broker, lost_id):
    """Under its id, to its queue, with what it was called with; and not twice while it may be on its way."""
    assert resender.resend() == [lost_id]
    assert resender.resend() == []

    [(task_id, sent, queue)] = broker.sent
    assert (task_id, queue, broker.retries) == (lost_id, "sums", [0])
    assert (sent.name, sent.args, sent.kwargs, sent.priority) == ("demo.add", [1], {"y": 2}, 3)


def test_sends_again_later(resender, store, broker, lost_id):
    """What is lost once more is sent once more."""
    resender.resend()
    broker.sent.clear()
    store.time += timedelta(seconds=2 * AFTER_SECONDS + 1)

    assert resender.resend() == [lost_id]


def test_sends_a_retry_that_was_lost(resender, store, broker, lost_id):
    """As the attempt that it would have been."""
    store.note(Note(task_id=lost_id, fact=Fact.STARTED, attempt=1))
    store.note(Note(task_id=lost_id, fact=Fact.RETRYING, attempt=1, next_retry_at=store.time + timedelta(minutes=1)))
    store.time += timedelta(seconds=60)
    assert resender.resend() == []
    store.time += timedelta(seconds=AFTER_SECONDS + 1)

    assert resender.resend() == [lost_id]
    assert broker.retries == [2]


@pytest.mark.parametrize(
    "note",
    [
        Note(task_id="", fact=Fact.RECEIVED),
        Note(task_id="", fact=Fact.STARTED),
        Note(task_id="", fact=Fact.FINISHED, outcome="SUCCESS"),
        Note(task_id="", cancel_requested=True),
        Note(task_id="", fact=Fact.SUBMITTED, send_unconfirmed=True),
        Note(task_id="", fact=Fact.RETRYING, call_changed=True),
        Note(task_id="", fact=Fact.REQUEUED, generation=1),
    ],
    ids=lambda note: f"{note.fact}-{note.generation}",
)
def test_leaves_alone_what_is_not_lost(resender, store, broker, lost_id, note):
    """A worker has it, it has ended, nobody wants it, or it is no longer what was submitted."""
    now, store.time = store.time, store.time - timedelta(seconds=AFTER_SECONDS + 1)
    fields = {name: getattr(note, name) for name in note.__struct_fields__}
    store.note(Note(**{**fields, "task_id": lost_id}))
    store.time = now

    assert resender.resend() == []
    assert broker.sent == []


def test_leaves_alone_what_waits(resender, submitter, store, broker, lost_id):
    """In its queue, or for its time."""
    broker.queued["sums"] = 1
    assert resender.resend() == []

    broker.queued.clear()
    due = submitter.submit(
        Submission(name="demo.add", args=[1, 2], scheduled_for=store.time + timedelta(hours=1)), ANYBODY
    ).status.id
    store.time += timedelta(minutes=59)
    assert resender.resend() == [lost_id]
    store.time += timedelta(minutes=2)
    assert due in resender.resend()


def test_leaves_alone_what_others_run(resender, store, lost_id):
    """Workers without the kit note nothing: Celery's meta tells, or that no worker announces such a task."""
    store.metas[lost_id] = b'{"status": "STARTED"}'
    assert resender.resend() == []

    del store.metas[lost_id]
    store.announced.clear()
    assert resender.resend() == []


def test_without_store_or_broker(resender, store, broker, lost_id):
    """There will be another time."""
    store.down = True
    with pytest.raises(StoreUnavailable):
        resender.resend()
    store.down, broker.down = False, True
    with pytest.raises(BrokerUnavailable):
        resender.resend()
    broker.down = False

    assert resender.resend() == [lost_id]
