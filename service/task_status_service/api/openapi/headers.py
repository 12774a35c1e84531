"""Response headers, as the document describes them: components, and what operations name them by."""

from collections.abc import Mapping
from typing import Any, Final

HEADERS: Final[Mapping[str, dict[str, Any]]] = {
    "ETag": {
        "description": "Names this version of the answer; send it back as `If-None-Match`.",
        "required": True,
        "schema": {"type": "string"},
    },
    "CacheControl": {
        "description": "How long the answer may be kept: not at all while the task is not done.",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "Where the task's status is.",
        "required": True,
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "RetryAfter": {
        "description": "When to ask again, in seconds; sent while the task is not done.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "IdempotencyReplayed": {
        "description": "`true`: this is the answer that an earlier request with this `Idempotency-Key` was given.",
        "schema": {"type": "boolean"},
    },
    "PreferenceApplied": {
        "description": "The wait that `Prefer` asked for, as it was applied.",
        "schema": {"type": "string"},
    },
    "RetryAfterProblem": {
        "description": "When to try again, in seconds.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "RetryAfterIfItPasses": {
        "description": "When to try again, in seconds; sent with what passes by itself.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "WWWAuthenticate": {
        "description": "`Bearer`: send a key or a task token.",
        "required": True,
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": (
            "How many requests of this key's owner are left (`r`), and in how many seconds all are again (`t`): "
            '`"requests";r=1999;t=1`. Sent with every answer to a key.'
        ),
        "schema": {"type": "string"},
    },
    "RateLimitPolicy": {
        "description": 'How many requests an owner has (`q`), and in how many seconds (`w`): `"requests";q=2000;w=10`.',
        "schema": {"type": "string"},
    },
}

CACHED: Final = {"ETag": "ETag", "Cache-Control": "CacheControl"}
POLLED: Final = {**CACHED, "Retry-After": "RetryAfter"}
LIVE: Final = {"Cache-Control": "CacheControl"}
PREFERENCE_APPLIED: Final = {"Preference-Applied": "PreferenceApplied"}
RATE_LIMIT: Final = {"RateLimit": "RateLimit", "RateLimit-Policy": "RateLimitPolicy"}
