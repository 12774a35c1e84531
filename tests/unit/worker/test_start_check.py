"""The start check: a request at the start of an execution, and another one before the task's own code."""

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
    """Return an execution that has not requested its start yet."""
    execution = Execution("t")
    execution.start_note = Note(task_id="t", fact=Fact.STARTED, run=execution.token, start_request=StartRequest())
    return execution


def test_the_record_is_asked_once(client: FakeClient, execution: Execution) -> None:
    """An answered start request is not sent again."""
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
    """Each denial but one is an Ignore, for which Celery acknowledges the message and stores nothing."""
    recorder = recorder_of(client)
    client.denial = denial
    ask(recorder, execution)
    with pytest.raises(error):
        enter(recorder, execution)
    assert issubclass(error, Ignore) == (denial is not Denial.DELIVERY_LIMIT)


def test_asks_again_when_redis_is_back(client: FakeClient, execution: Execution) -> None:
    """Celery waits for Redis to store STARTED; a task canceled before that does not start."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, execution)
    client.away, client.denial = False, Denial.CANCELED
    with pytest.raises(TaskCanceled):
        enter(recorder, execution)
    assert (client.facts, recorder.buffered) == ([("STARTED", True)], 0)


def test_starts_without_an_answer(client: FakeClient, execution: Execution) -> None:
    """Without an answer the execution starts, and its start is recorded later as a report."""
    recorder = recorder_of(client)
    client.away = True
    ask(recorder, execution)
    enter(recorder, execution)
    client.away = False
    assert recorder.flush()
    assert client.facts == [("STARTED", False)]
