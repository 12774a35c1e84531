"""Parameters of operations, as the document describes them, and what bounds them; those of lists are in schemas.py.

What may be left out has no `example`: Swagger UI would fill it in, and send it.
"""

import re
from typing import Final

from task_status_service.api.requests.fields import TASK_ID

#: the longest wait, in seconds
MAX_WAIT_SECONDS: Final = 60
#: the most tasks of one batch or stream
MAX_IDS: Final = 100
#: visible ASCII
IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")

_TASK_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{TASK_ID.pattern}$"}

WAIT_PARAMETERS: Final = [
    {
        "in": "query",
        "name": "wait",
        "description": (
            "Answer when the task is done, or, with `If-None-Match`, when it has changed; after so many seconds at the "
            "latest. Then ask again at once, with the `ETag` of the answer. Under load nobody waits: after an answer "
            "that came early and told nothing new, `Retry-After` counts."
        ),
        "schema": {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS},
    },
    {
        "in": "header",
        "name": "Prefer",
        "description": "`wait=N`, such as `wait=10`: the same as `?wait=N` (RFC 7240).",
        "schema": {"type": "string"},
    },
]

IDEMPOTENCY_KEY_PARAMETER: Final = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": (
        "Names this request, so that it may be sent again when its answer was lost: for 24 hours the same key with the "
        "same request gives the same answer, and makes one task. Such as `order-4711`."
    ),
    "schema": {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
}

LAST_EVENT_ID_PARAMETER: Final = {
    "in": "header",
    "name": "Last-Event-ID",
    "description": "The `id` of the last event of an earlier stream: it is not sent again.",
    "schema": {"type": "string"},
}

# No security scheme: clients that are given one secret for all of them would put an API key into addresses, which are
# logged (@hey-api/openapi-ts 0.99 does).
ACCESS_TOKEN_PARAMETER: Final = {
    "in": "query",
    "name": "access_token",
    "description": "A task token, for an `EventSource`, which can send no headers. Never an API key.",
    "schema": {"type": "string"},
}

TASK_IDS_PARAMETER: Final = {
    "in": "query",
    "name": "id",
    "required": True,
    "description": "The task ids.",
    "style": "form",
    "explode": True,
    "schema": {"type": "array", "minItems": 1, "maxItems": MAX_IDS, "items": _TASK_ID_SCHEMA},
    "example": ["6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"],
}

IF_NONE_MATCH_PARAMETER: Final = {
    "in": "header",
    "name": "If-None-Match",
    "description": "The `ETag` of an earlier answer, or several: 304 if nothing has changed since.",
    "schema": {"type": "string"},
}

TASK_ID_PARAMETER: Final = {
    "in": "path",
    "name": "task_id",
    "required": True,
    "description": "The task id.",
    "schema": _TASK_ID_SCHEMA,
    "example": "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10",
}

TASK_TYPE_PARAMETER: Final = {
    "in": "path",
    "name": "name",
    "required": True,
    "description": "The registered name.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "example": "demo.count",
}
