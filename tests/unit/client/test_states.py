"""The client's list of task states."""

from task_status_service.client.states import TASK_STATES
from task_status_service.status import TaskState


def test_client_knows_every_task_state():
    """The client does not import the service, so it repeats the states: both lists must be equal."""
    assert list(TASK_STATES) == [state.value for state in TaskState]
