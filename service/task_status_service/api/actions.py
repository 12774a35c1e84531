"""Actions on an existing task: cancel, retry, forget."""

from typing import Final

from flask import Response

from task_status_service.access.caller import Scope
from task_status_service.api.accepted import ACCEPTED_RESPONSES, OF_SUBMITTING, accepted, claim_of_request
from task_status_service.api.auth.authentication import caller
from task_status_service.api.context import submitter, tracker
from task_status_service.api.openapi import headers
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.examples import CANCELLATIONS
from task_status_service.api.openapi.operations import OF_A_BODY, OF_A_TASK, OF_WRITING, empty, json
from task_status_service.api.requests.options import checked_task_id, wait_preference
from task_status_service.api.requests.parameters import IDEMPOTENCY_KEY_PARAMETER, TASK_ID_PARAMETER, WAIT_PARAMETERS
from task_status_service.api.requests.schemas import Cancellation, CancellationSchema
from task_status_service.api.responses.caching import outcome_response
from task_status_service.errors import TaskDone, TaskNotDone, TaskNotRepeatable

blueprint: Final = Blueprint("actions", __name__, description="Cancel, retry and forget tasks.")


@blueprint.route("/tasks/<task_id>/cancel", methods=["POST"], scope=Scope.CANCEL, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="cancelTask",
    responses={
        200: json("TaskStatus", "The task was canceled before.", "canceled", headers=headers.LIVE),
        202: json(
            "TaskStatus",
            "The cancel is recorded; the task is canceled when a worker confirms it.",
            "canceling",
            headers={**headers.LIVE, "Retry-After": "RetryAfter"},
        ),
    },
    problems=(*OF_A_BODY, *OF_A_TASK, TaskDone, *OF_WRITING),
)
@blueprint.arguments(CancellationSchema(), required=False, examples=CANCELLATIONS)
def cancel_task(cancellation: Cancellation, task_id: str) -> Response:
    """Cancel a task.

    A task that has not started will not start. A running task continues, unless it checks for cancels, as `report` of
    the worker kit does, or `terminate` asks the worker to kill it.
    """
    task = tracker().cancel(checked_task_id(task_id), caller(), terminate=cancellation.terminate)
    return outcome_response(task)


@blueprint.route("/tasks/<task_id>/retry", methods=["POST"], scope=Scope.SUBMIT, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="retryTask",
    parameters=[IDEMPOTENCY_KEY_PARAMETER, *WAIT_PARAMETERS],
    responses=ACCEPTED_RESPONSES,
    problems=(*OF_A_TASK, TaskNotDone, TaskNotRepeatable, *OF_SUBMITTING),
)
def retry_task(task_id: str) -> Response:
    """Submit a task that is done again, as a new task.

    The new task has the same name, arguments, queue, priority and labels, and the label `retry_of`. It has no scheduled
    time: it runs as soon as possible.
    """
    preference = wait_preference()
    return accepted(submitter().retry(checked_task_id(task_id), caller(), claim_of_request()), preference)


@blueprint.route("/tasks/<task_id>", methods=["DELETE"], scope=Scope.SUBMIT, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="forgetTask",
    responses={204: empty("Forgotten: nothing is stored about the task.")},
    problems=(*OF_A_TASK, TaskNotDone, *OF_WRITING),
)
def forget_task(task_id: str) -> Response:
    """Forget a task that is done.

    Deletes its status and its result; the id then returns 404 like an unknown one.
    """
    tracker().forget(checked_task_id(task_id), caller())
    return Response(status=204)
