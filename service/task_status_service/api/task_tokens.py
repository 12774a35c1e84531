"""Task tokens: short-lived credentials for one task, for browsers."""

from typing import Final

from flask import Response

from task_status_service.access.caller import Scope
from task_status_service.access.task_tokens import TokenScope
from task_status_service.api.auth.authentication import caller, issue_token
from task_status_service.api.context import tracker
from task_status_service.api.openapi.blueprint import Blueprint
from task_status_service.api.openapi.examples import TOKEN_REQUESTS
from task_status_service.api.openapi.operations import OF_A_BODY, OF_A_TASK, OF_READING, json
from task_status_service.api.openapi.security import API_KEY
from task_status_service.api.requests.options import checked_task_id
from task_status_service.api.requests.parameters import TASK_ID_PARAMETER
from task_status_service.api.requests.schemas import TokenRequest, TokenRequestSchema
from task_status_service.api.responses.bodies import IssuedToken, json_response

blueprint: Final = Blueprint("tokens", __name__, description="Let a browser watch one task without an API key.")


@blueprint.route("/tasks/<task_id>/tokens", methods=["POST"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="createTaskToken",
    security=[{API_KEY: [str(Scope.READ)]}],  # a token cannot create tokens
    responses={
        201: json("IssuedToken", "The token; the server does not store it and cannot return it again.", "taskToken"),
    },
    problems=(*OF_A_BODY, *OF_A_TASK, *OF_READING),
)
@blueprint.arguments(TokenRequestSchema(), required=False, examples=TOKEN_REQUESTS)
def create_task_token(token_request: TokenRequest, task_id: str) -> Response:
    """Create a token that can read, or read and cancel, this one task.

    For a page in a browser, where every visitor could read an API key. The request needs an API key with the scopes of
    the token; a token cannot create tokens.
    """
    tracker().read(checked_task_id(task_id), caller())
    text, token = issue_token(task_id, token_request.scopes, token_request.ttl_seconds)
    scopes = [TokenScope(scope) for scope in sorted(token.scopes)]
    return json_response(IssuedToken(text, scopes, token.expires_at), 201, [("Cache-Control", "no-store")])
