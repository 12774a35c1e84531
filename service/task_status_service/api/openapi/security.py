"""Keys and tokens, as the document describes them: the schemes, and what an operation needs."""

from collections.abc import Mapping
from typing import Any, Final

from task_status_service.access.caller import Scope
from task_status_service.access.task_tokens import TOKEN_SCOPES

API_KEY: Final = "ApiKey"
TASK_TOKEN: Final = "TaskToken"  # noqa: S105 - a name

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
        "description": "A task token, which `createTaskToken` has given: good for this one task.",
    },
}


def needs(rule: str, scope: Scope) -> list[dict[str, list[str]]]:
    """Say what an operation needs of its caller: a key with a scope, or on the paths of a task a token for it."""
    is_for_tokens = "<task_id>" in rule and scope in TOKEN_SCOPES
    return [{scheme: [str(scope)]} for scheme in (API_KEY, *([TASK_TOKEN] if is_for_tokens else []))]
