"""Task tokens: what a browser is given to follow its one task with."""

from typing import Final

from flask import Response

from task_status_service.access.task_tokens import TokenScope
from task_status_service.api.auth.authentication import Scope, caller, issue_token
from task_status_service.api.context import tracker
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.examples import TOKEN_WISHES
from task_status_service.api.openapi.operations import OF_A_BODY, OF_A_TASK, OF_READING, json
from task_status_service.api.openapi.security import API_KEY
from task_status_service.api.requests.options import checked_task_id
from task_status_service.api.requests.parameters import TASK_ID_PARAMETER
from task_status_service.api.requests.schemas import TokenRequest, TokenRequestSchema
from task_status_service.api.responses.bodies import IssuedToken, json_response

blueprint: Final = Blueprint("tokens", __name__, description="Let a browser follow one task, without a key.")


@blueprint.route("/tasks/<task_id>/tokens", methods=["POST"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="createTaskToken",
    security=[{API_KEY: [str(Scope.READ)]}],  # a token makes no tokens
    responses={
        201: json("IssuedToken", "The token; it is not kept and cannot be asked for again.", "taskToken"),
    },
    problems=(*OF_A_BODY, *OF_A_TASK, *OF_READING),
)
@blueprint.arguments(TokenRequestSchema(), required=False, examples=TOKEN_WISHES)
def create_task_token(wish: TokenRequest, task_id: str) -> Response:
    """Make a token that reads, or reads and cancels, this one task.

    For a page that follows a task from a browser, where a key would be everybody's. It needs a key with the scopes that
    the token is to have; a token makes no tokens.
    """
    tracker().read(checked_task_id(task_id), caller())
    text, token = issue_token(task_id, wish.scopes, wish.ttl_seconds)
    scopes = [TokenScope(scope) for scope in sorted(token.scopes)]
    return json_response(IssuedToken(text, scopes, token.expires_at), 201, [("Cache-Control", "no-store")])
