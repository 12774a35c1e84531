"""Parameters of operations in the OpenAPI document, and their limits; parameters of the list are in schemas.py.

Optional parameters have no `example`, because Swagger UI would fill it in and send it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from task_status_service.api.requests.fields import TASK_ID

#: the longest wait, in seconds
MAX_WAIT_SECONDS: Final = 60
#: most tasks of one batch or stream
MAX_IDS: Final = 100
#: visible ASCII
IDEMPOTENCY_KEY: Final = re.compile(r"[!-~]{1,255}")

_TEXT: Final = {"type": "string"}
_TASK_ID_SCHEMA: Final = {"type": "string", "pattern": f"^{TASK_ID.pattern}$"}


def _parameter(location: str, name: str, description: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"in": location, "name": name, "description": description, "schema": dict(schema), **more}


WAIT_PARAMETERS: Final = [
    _parameter(
        "query",
        "wait",
        "Seconds to wait until the task is done or, with `If-None-Match`, until its status changes. Then repeat the "
        "request with the `ETag` of the response. Under load the server may respond early: if nothing has changed, "
        "wait for `Retry-After` first.",
        {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS},
    ),
    _parameter("header", "Prefer", "`wait=N`, such as `wait=10`: the same as `?wait=N` (RFC 7240).", _TEXT),
]

IDEMPOTENCY_KEY_PARAMETER: Final = _parameter(
    "header",
    "Idempotency-Key",
    "Identifies this request, so that a retry is safe: for 24 hours the same key with the same request returns the "
    "same response and creates one task only. Such as `order-4711`.",
    {"type": "string", "pattern": f"^{IDEMPOTENCY_KEY.pattern}$"},
)

LAST_EVENT_ID_PARAMETER: Final = _parameter(
    "header", "Last-Event-ID", "The `id` of the last event of an earlier stream, which is not sent again.", _TEXT
)

# Not a security scheme: some generated clients use one secret for all schemes and would put an API key into URLs, which
# are logged (@hey-api/openapi-ts 0.99 does).
ACCESS_TOKEN_PARAMETER: Final = _parameter(
    "query",
    "access_token",
    "A task token, for a browser's `EventSource`, which cannot send headers. Never send an API key here.",
    _TEXT,
)

TASK_IDS_PARAMETER: Final = _parameter(
    "query",
    "id",
    "The task ids.",
    {"type": "array", "minItems": 1, "maxItems": MAX_IDS, "items": _TASK_ID_SCHEMA},
    required=True,
    style="form",
    explode=True,
    example=["6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10"],
)

IF_NONE_MATCH_PARAMETER: Final = _parameter(
    "header",
    "If-None-Match",
    "One or more `ETag`s of earlier responses: the response is 304 if the status has not changed since.",
    _TEXT,
)

TASK_ID_PARAMETER: Final = _parameter(
    "path",
    "task_id",
    "The task id.",
    _TASK_ID_SCHEMA,
    required=True,
    example="6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10",
)

TASK_TYPE_PARAMETER: Final = _parameter(
    "path",
    "name",
    "The registered name of the task type.",
    {"type": "string", "minLength": 1, "maxLength": 256},
    required=True,
    example="demo.count",
)
