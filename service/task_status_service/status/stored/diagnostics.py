"""The diagnostics of stored values: a stable code and an explanation of each."""

from collections.abc import Set as AbstractSet
from typing import Final

from task_status_service.status.model import Diagnostic

#: code -> detail; the codes are part of the contract, the details are not
DETAILS: Final = {
    # No state can be read.
    "wrong_redis_type": "Celery's key does not hold a string, so Celery can neither read nor overwrite it.",
    "too_large": "The stored value exceeds the size limit of this service.",
    "compressed_corrupt": "The stored value is compressed, and the compressed data is damaged.",
    "compressed_unknown": "The stored value names a compression that Celery does not support.",
    "compressed_unsupported": "This server has no library for the compression of the stored value.",
    "unsupported_serializer": "The stored value begins like YAML or msgpack but cannot be decoded.",
    "not_utf8": "The stored value is neither text nor a serialization that Celery writes.",
    "invalid_json": "The stored value is text but not JSON.",
    "not_an_object": "The stored value is not an object.",
    "no_status": "The stored object has no `status`.",
    "bad_status": "The `status` of the stored object is empty or not a text.",
    "no_fact": "The record of the task contains no fact.",
    # The state is readable; other values are invalid or were changed.
    "pickle": "The stored value is a pickle: only its plain data is read; no object is constructed.",
    "was_compressed": "The stored value was compressed.",
    "bom": "The stored value starts with a byte order mark.",
    "too_deep": "The stored value is nested too deeply; deeper levels are omitted.",
    "duplicate_keys": "An object in the stored value has a duplicate key; the last value is used.",
    "unknown_typed_value": "A value has an unknown `__type__`; it is shown as stored.",
    "non_finite_number": "A number is not finite (NaN or Infinity); it is shown as null.",
    "integer_beyond_2_53": "An integer is beyond 2 to the power of 53: JavaScript loses its last digits.",
    "number_too_long": "A number has too many digits; it is shown as text.",
    "invalid_unicode": "A text contains half a surrogate pair; it is shown as U+FFFD.",
    "truncated_text": "A text is too long; it is cut.",
    "result_too_large": "The value that the task stored is too large; it is omitted.",
    "result_expired": "The task succeeded, but its result has expired or was not stored.",
    "no_result": "The stored value has no `result`.",
    "no_task_id": "The stored value has no `task_id`: Celery's own `get()` fails on it.",
    "task_id_mismatch": "The stored value contains the id of another task.",
    "bad_date_done": "The `date_done` of the stored value is not a time.",
    "bad_children": "Some `children` of the stored value are not in Celery's format; they are omitted.",
    "children_truncated": "The task started more tasks than `children` lists.",
    "nonstandard_failure": "The failure is not in Celery's format: Celery raises when it reads it.",
    "exc_type_not_text": "The `exc_type` of the failure is not a text.",
    "empty_text": "A text that names something, such as `exc_type` or an id, is empty; it is shown as null.",
    "traceback_not_text": "The `traceback` of the failure is not a text.",
    "unwrapped_exception": "Celery stored a wrapper, because the exception could not be pickled; it is unwrapped.",
    "cancelled_by_worker": "The worker was stopped while the task ran; possibly no worker retries the task.",
    "progress_clamped": "The progress is outside 0 to 100 percent; the nearest bound is shown.",
    # The record.
    "outcome_unknown": "The task has ended with an unknown outcome.",
    "send_unconfirmed": "The broker did not confirm the message of the task; it may have been sent.",
}

#: codes of values that have no readable state and that Celery's workers cannot overwrite: the status is final
FROZEN: Final = frozenset(
    {
        "wrong_redis_type",
        "invalid_json",
        "not_utf8",
        "not_an_object",
        "no_status",
        "compressed_corrupt",
        "compressed_unknown",
        "too_deep",
    }
)

_DIAGNOSTICS: Final = {code: Diagnostic(code=code, detail=detail) for code, detail in DETAILS.items()}


class Unreadable(Exception):
    """A stored value has no readable state; `code` contains the reason."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def diagnose(codes: AbstractSet[str]) -> list[Diagnostic]:
    """Return the diagnostics of some codes, in the order of the codes."""
    return [_DIAGNOSTICS[code] for code in sorted(codes)]
