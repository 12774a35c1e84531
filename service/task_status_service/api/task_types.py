"""`/task-types`: what may be submitted, and what it takes."""

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

blueprint: Final = Blueprint("task-types", __name__, description="What may be submitted, as the workers announced it.")


@blueprint.route("/task-types", methods=["GET"], scope=Scope.SUBMIT)
@blueprint.doc(
    operationId="listTaskTypes",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: json("TaskTypeList", "All of them, by name.", "taskTypes", headers=headers.CACHED),
        304: NOT_MODIFIED_LIVE,
    },
    problems=OF_READING,
)
def list_task_types() -> Response:
    """List the task types that may be submitted.

    As the workers announced them, and the settings of this service allow.
    """
    return live_answer(TaskTypeList.of(catalog().offers()), if_none_match()).response()


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

    What it does, what it takes, where it goes and how many live workers would run it.
    """
    return live_answer(TaskType.of(catalog().offer(name)), if_none_match()).response()
