"""The gate: asked at the start of a run, and once more where the task's own code begins."""

import pytest
from celery.exceptions import Ignore
from support.record_client import FakeClient
from task_status_worker.execution import Execution
from task_status_worker.progress import TaskCanceled
from task_status_worker.record.model import Denial, Fact, Note, StartRequest
from task_status_worker.start_check import DeliveryLimitReached, NothingToDo, ask, enter

from .conftest import recorder_of


@pytest.fixture
def execution() -> Execution:
    """Give a run that has not asked yet."""
    execution = Execution("t")
    execution.start_note = Note(task_id="t", fact=Fact.STARTED, run=execution.token, start_request=StartRequest())
    return execution


def test_the_record_is_asked_once(client: FakeClient, execution: Execution) -> None:
    """The second time nothing is asked."""
    recorder = recorder_of(client)
    ask(recorder, execution)
    enter(recorder, execution)
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
def test_a_denied_start_ends_with_its_exception(
    client: FakeClient, execution: Execution, denial: Denial, error: type[Exception]
) -> None:
    """All but one are an Ignore to Celery, which acknowledges the message and stores nothing."""
    recorder = recorder_of(client)
    client.denial = denial
    ask(recorder, execution)
    with pytest.raises(error):
        enter(recorder, execution)
    assert issubclass(error, Ignore) == (denial is not Denial.DELIVERY_LIMIT)


def test_asks_again_when_redis_is_back(client: FakeClient, execution: Execution) -> None:
    """Celery waits for it to store STARTED; what was canceled before does not run then."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, execution)
    client.away, client.denial = False, Denial.CANCELED
    with pytest.raises(TaskCanceled):
        enter(recorder, execution)
    assert (client.facts, recorder.buffered) == ([("STARTED", True)], 0)


def test_starts_without_an_answer(client: FakeClient, execution: Execution) -> None:
    """The record is told later, which cannot be refused."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, execution)
    enter(recorder, execution)
    client.away = False
    assert recorder.flush()
    assert client.facts == [("STARTED", False)]
