"""`/task-types`: the task types that may be submitted, and their arguments."""

from typing import Final

from flask import Response

from task_status_service.access.caller import Scope
from task_status_service.api.context import catalog
from task_status_service.api.openapi import headers
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.operations import NOT_MODIFIED_LIVE, OF_READING, json
from task_status_service.api.requests.options import if_none_match
from task_status_service.api.requests.parameters import IF_NONE_MATCH_PARAMETER, TASK_TYPE_PARAMETER
from task_status_service.api.responses.bodies import TaskType, TaskTypeList
from task_status_service.api.responses.caching import live_answer
from task_status_service.errors import TaskTypeNotFound

blueprint: Final = Blueprint("task-types", __name__, description="The task types that the workers announced.")


@blueprint.route("/task-types", methods=["GET"], scope=Scope.SUBMIT)
@blueprint.doc(
    operationId="listTaskTypes",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: json("TaskTypeList", "The task types, by name.", "taskTypes", headers=headers.CACHED),
        304: NOT_MODIFIED_LIVE,
    },
    problems=OF_READING,
)
def list_task_types() -> Response:
    """List the task types that may be submitted.

    Returns the types that the workers announced and the settings of this service allow.
    """
    return live_answer(TaskTypeList.of(catalog().available_types()), if_none_match()).response()


# A registered name may hold any character but white space.
@blueprint.route("/task-types/<path:name>", methods=["GET"], scope=Scope.SUBMIT, parameters=[TASK_TYPE_PARAMETER])
@blueprint.doc(
    operationId="getTaskType",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: json("TaskType", "The task type.", "taskType", headers=headers.CACHED),
        304: NOT_MODIFIED_LIVE,
    },
    problems=(TaskTypeNotFound, *OF_READING),
)
def get_task_type(name: str) -> Response:
    """Read one task type.

    Returns its documentation, its arguments, its queue and the number of live workers that consume it.
    """
    return live_answer(TaskType.of(catalog().available_type(name)), if_none_match()).response()
