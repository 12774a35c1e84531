"""The gate: asked at the start of a run, and once more where the task's own code begins."""

import pytest
from celery.exceptions import Ignore
from support.record_client import FakeClient
from task_status_worker.execution import Run
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Denial, Fact, Note, StartRequest
from task_status_worker.start_check import DeliveryLimitReached, NothingToDo, ask, enter

from .conftest import recorder_of


@pytest.fixture
def run() -> Run:
    """Give a run that has not asked yet."""
    run = Run("t")
    run.question = Note(task_id="t", fact=Fact.STARTED, run=run.token, start_request=StartRequest())
    return run


def test_one_answer_is_enough(client: FakeClient, run: Run) -> None:
    """The second time nothing is asked."""
    recorder = recorder_of(client)
    ask(recorder, run)
    enter(recorder, run)
    assert client.facts == [("STARTED", True)]


@pytest.mark.parametrize(
    ("denial", "error"),
    [
        (Denial.CANCELED, TaskCanceled),
        (Denial.DELIVERY_LIMIT, DeliveryLimitReached),
        (Denial.ENDED, NothingToDo),
        (Denial.DUPLICATE, NothingToDo),
    ],
)
def test_what_a_refusal_ends_with(client: FakeClient, run: Run, denial: Denial, error: type[Exception]) -> None:
    """All but one are an Ignore to Celery, which acknowledges the message and stores nothing."""
    recorder = recorder_of(client)
    client.denial = denial
    ask(recorder, run)
    with pytest.raises(error):
        enter(recorder, run)
    assert issubclass(error, Ignore) == (denial is not Denial.DELIVERY_LIMIT)


def test_redis_comes_back_in_between(client: FakeClient, run: Run) -> None:
    """Celery waits for it to store STARTED; what was canceled before does not run then."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, run)
    client.away, client.denial = False, Denial.CANCELED
    with pytest.raises(TaskCanceled):
        enter(recorder, run)
    assert (client.facts, recorder.buffered) == ([("STARTED", True)], 0)


def test_without_an_answer_it_begins(client: FakeClient, run: Run) -> None:
    """The record is told later, which cannot be refused."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, run)
    enter(recorder, run)
    client.away = False
    assert recorder.flush()
    assert client.facts == [("STARTED", False)]
