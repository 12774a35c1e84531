"""Response headers of the OpenAPI document: the components, and the groups that operations refer to."""

from collections.abc import Mapping
from typing import Any, Final


def _header(description: str, schema: Mapping[str, Any], *, required: bool = False) -> dict[str, Any]:
    return {"description": description, **({"required": True} if required else {}), "schema": dict(schema)}


_TEXT: Final = {"type": "string"}
_SECONDS: Final = {"type": "integer", "minimum": 0}

HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "ETag": _header("Version of the response; send it back as `If-None-Match`.", _TEXT, required=True),
    "CacheControl": _header(
        "How long the response may be cached; before the task is done, each use must be revalidated.", _TEXT
    ),
    "Location": _header("Path of the task's status.", {"type": "string", "format": "uri-reference"}, required=True),
    "RetryAfter": _header("Seconds to wait before the next poll; sent until the task is done.", _SECONDS),
    "IdempotencyReplayed": _header(
        "`true` if this repeats the response to an earlier request with the same `Idempotency-Key`.",
        {"type": "boolean"},
    ),
    "PreferenceApplied": _header("The wait preference of `Prefer`, as the server applied it.", _TEXT),
    "RetryAfterProblem": _header("Seconds to wait before a retry.", _SECONDS, required=True),
    "RetryAfterIfItPasses": _header("Seconds to wait before a retry; sent with temporary problems only.", _SECONDS),
    "WWWAuthenticate": _header("`Bearer`: send an API key or a task token.", _TEXT, required=True),
    "RateLimit": _header(
        "Requests left for the keys of this owner, or for this task token (`r`), and seconds until the limit is fully "
        'restored (`t`): `"requests";r=1999;t=1`. Sent with every response to an authenticated request.',
        _TEXT,
    ),
    "RateLimitPolicy": _header(
        'Requests of this owner or task token (`q`) in a window of `w` seconds: `"requests";q=2000;w=10`.', _TEXT
    ),
}

CACHED: Final = {"ETag": "ETag", "Cache-Control": "CacheControl"}
POLLED: Final = {**CACHED, "Retry-After": "RetryAfter"}
LIVE: Final = {"Cache-Control": "CacheControl"}
PREFERENCE_APPLIED: Final = {"Preference-Applied": "PreferenceApplied"}
RATE_LIMIT: Final = {"RateLimit": "RateLimit", "RateLimit-Policy": "RateLimitPolicy"}
