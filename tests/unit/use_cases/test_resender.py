"""Resending: which messages are lost and sent again, and which are not."""

from datetime import timedelta

import pytest
from support.fakes import MemoryBroker, MemoryStore
from task_status_service.access.caller import ANYBODY
from task_status_service.errors import BrokerUnavailable, StoreUnavailable
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.resender import Resender
from task_status_service.use_cases.submission import Call, Submission
from task_status_worker.record.model import Fact, Note

AFTER_SECONDS = 30
CALL = Call(name="demo.add", args=[1], kwargs={"y": 2}, priority=3)


@pytest.fixture
def resender(tracker, store, broker):
    """Return a resender of tasks that no worker has received for 30 seconds."""
    return Resender(tracker, store, broker, Catalog(store), after_seconds=AFTER_SECONDS, sleep=lambda _: None)


@pytest.fixture
def lost_id(submitter, store: MemoryStore, broker: MemoryBroker):
    """Submit a task, lose its message, let the time pass, and return its id."""
    submission = Submission(call=CALL, labels={"a": "b"})
    task_id = submitter.submit(submission, ANYBODY).status.id
    broker.sent.clear()
    broker.retries.clear()
    store.time += timedelta(seconds=AFTER_SECONDS + 1)
    return task_id


def test_resends_a_lost_message(resender, broker, lost_id):
    """A lost message is sent again unchanged: the same id, queue and call; and once while it may be on its way."""
    assert resender.resend() == [lost_id]
    assert resender.resend() == []

    [(task_id, sent, queue)] = broker.sent
    assert (task_id, queue, broker.retries) == (lost_id, "sums", [0])
    assert sent.call == CALL


def test_resends_a_message_that_is_lost_again(resender, store, broker, lost_id):
    """A message that is lost a second time is sent a third time, after the mark has expired."""
    resender.resend()
    broker.sent.clear()
    store.time += timedelta(seconds=2 * AFTER_SECONDS + 1)

    assert resender.resend() == [lost_id]


def test_resends_a_lost_retry(resender, store, broker, lost_id):
    """A lost retry is sent as the same attempt."""
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
def test_ignores_tasks_that_are_not_lost(resender, store, broker, lost_id, note):
    """A task is ignored if a worker has it, if it has ended, if it is canceled, or if its call has changed."""
    now, store.time = store.time, store.time - timedelta(seconds=AFTER_SECONDS + 1)
    fields = {name: getattr(note, name) for name in note.__struct_fields__}
    store.note(Note(**{**fields, "task_id": lost_id}))
    store.time = now

    assert resender.resend() == []
    assert broker.sent == []


def test_ignores_tasks_that_wait(resender, submitter, store, broker, lost_id):
    """A task is ignored while its queue is not empty, and until its scheduled time has passed."""
    broker.queued["sums"] = 1
    assert resender.resend() == []

    broker.queued.clear()
    due = submitter.submit(
        Submission(call=Call(name="demo.add", args=[1, 2]), scheduled_for=store.time + timedelta(hours=1)), ANYBODY
    ).status.id
    store.time += timedelta(minutes=59)
    assert resender.resend() == [lost_id]
    store.time += timedelta(minutes=2)
    assert due in resender.resend()


def test_ignores_tasks_of_workers_without_the_kit(resender, store, lost_id):
    """A task is ignored if Celery's meta has a newer state, or if no worker announces its type."""
    store.metas[lost_id] = b'{"status": "STARTED"}'
    assert resender.resend() == []

    del store.metas[lost_id]
    store.announced.clear()
    assert resender.resend() == []


def test_raises_without_store_or_broker(resender, store, broker, lost_id):
    """An outage is raised, and a later check resends the message."""
    store.down = True
    with pytest.raises(StoreUnavailable):
        resender.resend()
    store.down, broker.down = False, True
    with pytest.raises(BrokerUnavailable):
        resender.resend()
    broker.down = False

    assert resender.resend() == [lost_id]


def test_no_exception_ends_the_loop(resender, store, lost_id, caplog):
    """A defect in one check is logged with its traceback, and the next check resends the message."""
    checks = []

    def fails_once(*args, **arguments):
        checks.append(args)
        if len(checks) == 1:
            raise ZeroDivisionError
        return MemoryStore.unreceived(store, *args, **arguments)

    store.unreceived = fails_once
    resender.run(lambda: len(checks) > 1)

    failed, resent = caplog.records
    assert (failed.levelname, failed.exc_info[0]) == ("ERROR", ZeroDivisionError)
    assert lost_id in resent.getMessage()


def test_no_outage_ends_the_loop(resender, store, lost_id, caplog):
    """An outage is no defect: it is not logged as an error, and a later check resends the message."""
    rounds = iter([True, False])
    store.down = True

    def is_over():
        store.down = next(rounds, None)
        return store.down is None

    resender.run(is_over)

    [resent] = caplog.records
    assert lost_id in resent.getMessage()
