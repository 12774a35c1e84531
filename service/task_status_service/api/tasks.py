"""`/tasks`: submit, and read one."""

import time
from typing import Any, Final

from flask import Response, request

from task_status_service.api.answers import result_response, status_response
from task_status_service.api.context import tracker
from task_status_service.api.document import IF_NONE_MATCH_PARAMETER, NOT_MODIFIED, TASK_ID_PARAMETER
from task_status_service.api.examples import ACCEPTED, RUNNING, SUBMISSIONS
from task_status_service.api.polling import conditional, poll_after_seconds
from task_status_service.api.schemas import TASK_ID, SubmissionSchema
from task_status_service.api.smorest import Blueprint
from task_status_service.errors import TaskNotFound
from task_status_service.tracker import Submission

blueprint: Final = Blueprint("tasks", __name__, description="Submit tasks and follow them.")

_STATUS: Final[dict[str, Any]] = {"$ref": "#/components/schemas/TaskStatus"}


@blueprint.route("/tasks", methods=["POST"])
@blueprint.doc(
    operationId="submitTask",
    responses={
        202: {
            "description": "Accepted: recorded, and sent to the workers.",
            "headers": {"Location": "Location", "Retry-After": "RetryAfter"},
            "content": {"application/json": {"schema": _STATUS, "example": ACCEPTED}},
        },
        400: "BAD_REQUEST",
        413: "REQUEST_ENTITY_TOO_LARGE",
        415: "UNSUPPORTED_MEDIA_TYPE",
        422: "UNPROCESSABLE_ENTITY",
        503: "SERVICE_UNAVAILABLE",
    },
)
# One schema for all requests: webargs makes one for each of them from a class.
@blueprint.arguments(SubmissionSchema(), examples=SUBMISSIONS)
def submit_task(submission: Submission) -> Response:
    """Submit a task.

    It is recorded before it is sent: whoever asks for the id in the answer finds it.
    """
    task = tracker().submit(submission)
    response = status_response(task, 202, poll_after_seconds=poll_after_seconds({}, time.time()))
    # By hand: `url_for` builds it through the whole URL map.
    response.headers["Location"] = f"{request.script_root}/tasks/{task.id}"
    return response


_CACHED_HEADERS: Final = {"ETag": "ETag", "Cache-Control": "CacheControl"}
_TASK_PARAMETERS: Final = [TASK_ID_PARAMETER, IF_NONE_MATCH_PARAMETER]


@blueprint.route("/tasks/<task_id>", methods=["GET"], parameters=_TASK_PARAMETERS)
@blueprint.doc(
    operationId="getTask",
    responses={
        200: {
            "description": "The status, whatever the state: a failure of the task is data.",
            "headers": {**_CACHED_HEADERS, "Retry-After": "RetryAfter"},
            "content": {"application/json": {"schema": _STATUS, "example": RUNNING}},
        },
        304: NOT_MODIFIED,
        404: "NOT_FOUND",
        410: "GONE",
        503: "SERVICE_UNAVAILABLE",
    },
)
def get_task(task_id: str) -> Response:
    """Read the status of a task."""
    tasks = tracker()
    snapshot = tasks.read(_checked(task_id))

    def answer() -> Response:
        after = poll_after_seconds(snapshot.record, time.time())
        return status_response(tasks.status(snapshot), 200, poll_after_seconds=after)

    return conditional(snapshot, tasks.version(snapshot), answer)


@blueprint.route("/tasks/<task_id>/result", methods=["GET"], parameters=_TASK_PARAMETERS)
@blueprint.doc(
    operationId="getTaskResult",
    responses={
        200: {
            "description": "The return value, and nothing around it.",
            "headers": _CACHED_HEADERS,
            "content": {"application/json": {"schema": {"description": "Any JSON."}, "example": 10}},
        },
        304: NOT_MODIFIED,
        404: "NOT_FOUND",
        409: "CONFLICT",
        410: "GONE",
        503: "SERVICE_UNAVAILABLE",
    },
)
def get_task_result(task_id: str) -> Response:
    """Read the result of a task that has succeeded, also one that is too large for its status."""
    snapshot = tracker().read(_checked(task_id))
    return conditional(snapshot, tracker().version(snapshot), lambda: result_response(tracker().result(snapshot)))


def _checked(task_id: str) -> str:
    if not TASK_ID.fullmatch(task_id):
        raise TaskNotFound("A task id is 1 to 128 letters, digits and ._:- and starts with a letter or digit.")
    return task_id
