"""`/task-types`: what may be submitted, and what it takes."""

from typing import Any, Final

from flask import Response

from task_status_service.api.answers import TaskType, TaskTypeList
from task_status_service.api.caller import if_none_match
from task_status_service.api.context import catalog
from task_status_service.api.document import IF_NONE_MATCH_PARAMETER, NOT_MODIFIED_LIVE, TASK_TYPE_PARAMETER
from task_status_service.api.examples import TASK_TYPE
from task_status_service.api.polling import live_answer
from task_status_service.api.smorest import Blueprint
from task_status_service.caller import Scope

blueprint: Final = Blueprint("task-types", __name__, description="What may be submitted, as the workers announced it.")

_HEADERS: Final = {"ETag": "ETag", "Cache-Control": "CacheControl"}


def _found(schema: str, example: Any, description: str) -> dict[str, Any]:
    content = {"schema": {"$ref": f"#/components/schemas/{schema}"}, "example": example}
    return {"description": description, "headers": _HEADERS, "content": {"application/json": content}}


@blueprint.route("/task-types", methods=["GET"], scope=Scope.SUBMIT)
@blueprint.doc(
    operationId="listTaskTypes",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: _found("TaskTypeList", {"items": [TASK_TYPE]}, "All of them, by name."),
        304: NOT_MODIFIED_LIVE,
        503: "SERVICE_UNAVAILABLE",
    },
)
def list_task_types() -> Response:
    """List the task types that may be submitted."""
    return live_answer(TaskTypeList.of(catalog().offers()), if_none_match()).response()


# A registered name may hold any character but white space.
@blueprint.route("/task-types/<path:name>", methods=["GET"], scope=Scope.SUBMIT, parameters=[TASK_TYPE_PARAMETER])
@blueprint.doc(
    operationId="getTaskType",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: _found("TaskType", TASK_TYPE, "The task type."),
        304: NOT_MODIFIED_LIVE,
        404: "NOT_FOUND",
        503: "SERVICE_UNAVAILABLE",
    },
)
def get_task_type(name: str) -> Response:
    """Read one task type: what it does, what it takes, and who would run it."""
    return live_answer(TaskType.of(catalog().offer(name)), if_none_match()).response()
