"""Task tokens: what a browser is given to follow its one task with."""

from typing import Final

from flask import Response

from task_status_service.api.access import Scope, caller, issue_token
from task_status_service.api.answers import IssuedToken, json_response
from task_status_service.api.caller import checked_task_id
from task_status_service.api.context import tracker
from task_status_service.api.document import TASK_ID_PARAMETER
from task_status_service.api.examples import ISSUED, TOKEN_WISHES
from task_status_service.api.schemas import TokenWish, TokenWishSchema
from task_status_service.api.smorest import Blueprint

blueprint: Final = Blueprint("tokens", __name__, description="Let a browser follow one task, without a key.")


@blueprint.route("/tasks/<task_id>/tokens", methods=["POST"], scope=Scope.READ, parameters=[TASK_ID_PARAMETER])
@blueprint.doc(
    operationId="createTaskToken",
    security=[],  # of tokens
    responses={
        201: {
            "description": "The token; it is not kept and cannot be asked for again.",
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/IssuedToken"}, "example": ISSUED}
            },
        },
        400: "BAD_REQUEST",
        404: "NOT_FOUND",
        410: "GONE",
        413: "REQUEST_ENTITY_TOO_LARGE",
        415: "UNSUPPORTED_MEDIA_TYPE",
        422: "UNPROCESSABLE_ENTITY",
        503: "SERVICE_UNAVAILABLE",
    },
)
@blueprint.arguments(TokenWishSchema(), required=False, examples=TOKEN_WISHES)
def create_task_token(wish: TokenWish, task_id: str) -> Response:
    """Make a token that reads, or reads and cancels, this one task.

    For a page that follows a task from a browser, where a key would be everybody's. It needs a key with the scopes that
    the token is to have; a token makes no tokens.
    """
    tracker().read(checked_task_id(task_id), caller())
    text, token = issue_token(task_id, wish.scopes, wish.ttl_seconds)
    return json_response(IssuedToken(text, token.expires_at), 201, [("Cache-Control", "no-store")])
