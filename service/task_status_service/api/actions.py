"""What may be done to a task that there is: cancel it, retry it, forget it."""

from typing import Any, Final

from flask import Response

from task_status_service.api.accepting import ACCEPTED_RESPONSES, accepted, claim_of_request
from task_status_service.api.access import Scope, caller
from task_status_service.api.caller import checked_task_id, patience
from task_status_service.api.context import submitter, tracker
from task_status_service.api.document import IDEMPOTENCY_KEY_PARAMETER, TASK_ID_PARAMETER, WAIT_PARAMETERS
from task_status_service.api.examples import CANCELED, CANCELING, CANCELLATIONS
from task_status_service.api.polling import outcome_response
from task_status_service.api.schemas import Cancellation, CancellationSchema
from task_status_service.api.smorest import Blueprint

blueprint: Final = Blueprint("actions", __name__, description="Cancel, retry and forget tasks.")

_STATUS: Final[dict[str, Any]] = {"$ref": "#/components/schemas/TaskStatus"}


@blueprint.route("/tasks/<task_id>/cancel", methods=["POST"], scope=Scope.CANCEL, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="cancelTask",
    responses={
        200: {
            "description": "It was canceled already.",
            "headers": {"Cache-Control": "CacheControl"},
            "content": {"application/json": {"schema": _STATUS, "example": CANCELED}},
        },
        202: {
            "description": "The cancel is recorded; the task is canceled when a worker says so.",
            "headers": {"Cache-Control": "CacheControl", "Retry-After": "RetryAfter"},
            "content": {"application/json": {"schema": _STATUS, "example": CANCELING}},
        },
        400: "BAD_REQUEST",
        404: "NOT_FOUND",
        409: "CONFLICT",
        410: "GONE",
        408: "REQUEST_TIMEOUT",
        413: "REQUEST_ENTITY_TOO_LARGE",
        415: "UNSUPPORTED_MEDIA_TYPE",
        422: "UNPROCESSABLE_ENTITY",
        503: "SERVICE_UNAVAILABLE",
    },
)
@blueprint.arguments(CancellationSchema(), required=False, examples=CANCELLATIONS)
def cancel_task(cancellation: Cancellation, task_id: str) -> Response:
    """Cancel a task.

    One that has not started will not start. One that runs goes on, unless it looks for cancels itself, as `report` of
    the worker kit does, or `terminate` says to kill it.
    """
    task = tracker().cancel(checked_task_id(task_id), caller(), terminate=cancellation.terminate)
    return outcome_response(task)


@blueprint.route("/tasks/<task_id>/retry", methods=["POST"], scope=Scope.SUBMIT, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="retryTask",
    parameters=[IDEMPOTENCY_KEY_PARAMETER, *WAIT_PARAMETERS],
    responses={
        **ACCEPTED_RESPONSES,
        404: "NOT_FOUND",
        409: "CONFLICT",
        410: "GONE",
        422: "UNPROCESSABLE_ENTITY",
        503: "SERVICE_UNAVAILABLE",
    },
)
def retry_task(task_id: str) -> Response:
    """Submit a task that is done once more.

    A new task of the same name, with the same arguments, queue, priority and labels, and with the label `retry_of`. It
    runs as soon as it can, whatever the first one was scheduled for.
    """
    waits = patience()
    return accepted(submitter().retry(checked_task_id(task_id), caller(), claim_of_request()), waits)


@blueprint.route("/tasks/<task_id>", methods=["DELETE"], scope=Scope.SUBMIT, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="forgetTask",
    responses={
        204: {"description": "Forgotten: nothing is kept of it any more."},
        404: "NOT_FOUND",
        409: "CONFLICT",
        410: "GONE",
        503: "SERVICE_UNAVAILABLE",
    },
)
def forget_task(task_id: str) -> Response:
    """Delete all that is kept of a task that is done: its status and its result."""
    tracker().forget(checked_task_id(task_id), caller())
    return Response(status=204)
