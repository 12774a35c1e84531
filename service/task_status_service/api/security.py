"""Keys and tokens, as the document describes them: the schemes, and what an operation needs."""

from collections.abc import Mapping
from typing import Any, Final

from task_status_service.caller import Scope
from task_status_service.task_token import TOKEN_SCOPES

API_KEY: Final = "ApiKey"
TASK_TOKEN: Final = "TaskToken"  # noqa: S105 - a name
ACCESS_TOKEN: Final = "AccessToken"  # noqa: S105 - as above

SECURITY_SCHEMES: Final[Mapping[str, dict[str, Any]]] = {
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": (
            "An API key: `Authorization: Bearer tsk_…`. What an operation lists is the scope that the key needs. A key "
            "sees the tasks that were submitted with a key of its name, with the scope `admin` all tasks; any other "
            "task is not there for it. A server without keys asks for none."
        ),
    },
    TASK_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that `POST /tasks/{task_id}/tokens` has given: good for this one task.",
    },
    ACCESS_TOKEN: {
        "type": "apiKey",
        "in": "query",
        "name": "access_token",
        "description": "The same token, for an `EventSource`, which can send no headers.",
    },
}


def needs(scope: Scope, *tokens: str) -> list[dict[str, list[str]]]:
    """Say what an operation needs of its caller: a key with a scope, or one of these tokens."""
    return [{API_KEY: [str(scope)]}, *({token: [str(scope)] if token == TASK_TOKEN else []} for token in tokens)]


def needs_by_rule(rule: str, scope: Scope) -> list[dict[str, list[str]]]:
    """Say it of an operation that says nothing itself: a token is good for the paths of its task."""
    return needs(scope, TASK_TOKEN) if "<task_id>" in rule and scope in TOKEN_SCOPES else needs(scope)
