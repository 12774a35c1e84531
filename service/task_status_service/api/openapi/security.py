"""Security schemes of the OpenAPI document, and the requirements of each operation."""

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
            "An API key: `Authorization: Bearer tsk_…`. Each operation lists the scope that it requires. A key gives "
            "access to the tasks submitted by its owner, which is its name, and with the scope `admin` to all tasks; "
            "any other task returns 404. A server without keys requires no authentication."
        ),
    },
    TASK_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "description": "A task token, issued by `createTaskToken` and valid for one task.",
    },
}


def needs(rule: str, scope: Scope) -> list[dict[str, list[str]]]:
    """Return the security requirement: a key with a scope, or, on paths of one task, a task token."""
    is_for_tokens = "<task_id>" in rule and scope in TOKEN_SCOPES
    return [{scheme: [str(scope)]} for scheme in (API_KEY, *([TASK_TOKEN] if is_for_tokens else []))]
