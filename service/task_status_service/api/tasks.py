"""`/tasks`: submit and list tasks, read one task and its result."""

from typing import Final

from flask import Response, request

from task_status_service.access.caller import Scope
from task_status_service.api.accepted import ACCEPTED_RESPONSES, OF_SUBMITTING, accepted, claim_of_request
from task_status_service.api.auth.authentication import caller, charge
from task_status_service.api.context import submitter, tracker
from task_status_service.api.openapi import headers
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.examples import SUBMISSIONS
from task_status_service.api.openapi.operations import (
    ANY_JSON,
    NOT_MODIFIED,
    OF_A_BODY,
    OF_A_LONG_QUERY,
    OF_A_TASK,
    OF_READING,
    json,
)
from task_status_service.api.requests.options import checked_task_id, if_none_match, wait_preference
from task_status_service.api.requests.parameters import (
    IDEMPOTENCY_KEY_PARAMETER,
    IF_NONE_MATCH_PARAMETER,
    TASK_ID_PARAMETER,
    WAIT_PARAMETERS,
)
from task_status_service.api.requests.schemas import Listing, ListingSchema, SubmissionSchema
from task_status_service.api.responses.bodies import list_response
from task_status_service.api.responses.caching import known_versions, result_of_task_answer, status_answer
from task_status_service.api.waiting import read_status
from task_status_service.errors import InvalidArguments, NoResult, TaskNotDone
from task_status_service.use_cases.submission import Submission

blueprint: Final = Blueprint("tasks", __name__, description="Submit tasks, and read their statuses.")


@blueprint.route("/tasks", methods=["POST"], scope=Scope.SUBMIT)
@blueprint.doc(
    operationId="submitTask",
    parameters=[IDEMPOTENCY_KEY_PARAMETER, *WAIT_PARAMETERS],
    responses=ACCEPTED_RESPONSES,
    problems=(*OF_A_BODY, *OF_SUBMITTING),
)
# An instance: from a class, webargs creates a schema for each request.
@blueprint.arguments(SubmissionSchema(), examples=SUBMISSIONS)
def submit_task(submission: Submission) -> Response:
    """Submit a task.

    The task is recorded before it is sent, so its id can be read as soon as the response arrives. With an
    `Idempotency-Key`, a request without a response can be repeated: it creates one task.
    """
    preference = wait_preference()
    return accepted(submitter().submit(submission, caller(), claim_of_request(request.get_data())), preference)


@blueprint.route("/tasks", methods=["GET"], scope=Scope.READ)
@blueprint.doc(
    operationId="listTasks",
    responses={
        200: json(
            "TaskList",
            "One page, or the tasks of the given ids.",
            "page",
            "byId",
            headers=headers.LIVE,
        )
    },
    problems=(InvalidArguments, *OF_A_LONG_QUERY, *OF_READING),
)
@blueprint.arguments(ListingSchema(), location="query")
def list_tasks(query: Listing) -> Response:
    """List tasks, newest first, or read several at once by `id`.

    Sorted by submission time, or by the time of the first record for a task that was not submitted here. Paging is
    stable while tasks arrive and change: each task that matches throughout is listed exactly once. A page may hold
    fewer tasks than `limit`, or none: continue with `next_cursor` until it is null. A result of more than 64 Ki
    characters is omitted, and `diagnostics` contains a note about it. For the rate limit, each 50 tasks of `limit`, or
    50 ids, count as one request.
    """
    charge(query.cost - 1)
    if query.task_ids:
        return list_response(tracker().statuses(query.task_ids, caller()))
    return list_response(tracker().page(query.wanted, caller(), limit=query.limit, after=query.after))


@blueprint.route("/tasks/<task_id>", methods=["GET"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="getTask",
    parameters=[IF_NONE_MATCH_PARAMETER, *WAIT_PARAMETERS],
    responses={
        200: json(
            "TaskStatus",
            "The status in any state: a failed task is not an HTTP error.",
            "running",
            "succeeded",
            "failed",
            headers={**headers.POLLED, **headers.PREFERENCE_APPLIED},
        ),
        304: NOT_MODIFIED,
    },
    problems=(*OF_A_TASK, InvalidArguments, *OF_READING),
)
def get_task(task_id: str) -> Response:
    """Read the status of a task.

    Poll again after `Retry-After` seconds, with the `ETag` as `If-None-Match`, until the task is `done`. An unknown id
    returns 404, an expired task 410.
    """
    # A read without a query and without a preference is answered earlier, by fast_read.py.
    preference = wait_preference()
    return preference.acknowledge(status_answer(read_status(checked_task_id(task_id), preference)).response())


@blueprint.route("/tasks/<task_id>/result", methods=["GET"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="getTaskResult",
    parameters=[IF_NONE_MATCH_PARAMETER],
    responses={
        200: json(ANY_JSON, "The return value alone.", "number", headers=headers.CACHED),
        304: NOT_MODIFIED,
    },
    problems=(*OF_A_TASK, TaskNotDone, NoResult, *OF_READING),
)
def get_task_result(task_id: str) -> Response:
    """Read the result of a task that has succeeded.

    Also returns a result that is too large for the status, whose `diagnostics` then contain a note about it.
    """
    known = known_versions(if_none_match())
    return result_of_task_answer(tracker().result_of(checked_task_id(task_id), caller(), known)).response()
