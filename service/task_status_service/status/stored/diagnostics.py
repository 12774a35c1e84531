"""What can be wrong with a stored value: a stable code, and a sentence for a person."""

from collections.abc import Set as AbstractSet
from typing import Final

from task_status_service.status.model import Diagnostic

#: code -> detail; the codes are part of the contract, the sentences are not
DETAILS: Final = {
    # No state can be read.
    "wrong_redis_type": "Celery's key does not hold a string, so nobody can read or overwrite it.",
    "too_large": "The stored value is larger than this service reads.",
    "compressed_corrupt": "The stored value is compressed and the compressed data is damaged.",
    "compressed_unknown": "The stored value says that it is compressed, in a way that Celery does not know.",
    "compressed_unsupported": "The stored value is compressed in a way that this server has no library for.",
    "unsupported_serializer": "The stored value looks like YAML or msgpack and cannot be read as that.",
    "not_utf8": "The stored value is neither text nor a serialization that Celery writes.",
    "invalid_json": "The stored value is text but not JSON.",
    "not_an_object": "The stored value is not an object, so it has no status.",
    "no_status": "The stored object has no `status`.",
    "bad_status": "The `status` of the stored object is not a text, or is empty.",
    "no_fact": "Something was recorded about the task, but not what happened to it.",
    # A state can be read, but not everything as it should be.
    "pickle": "The stored value is a pickle: its plain data is read, nothing in it is ever built or run.",
    "was_compressed": "The stored value was compressed.",
    "bom": "The stored value starts with a byte order mark.",
    "too_deep": "The stored value is nested too deep; what lies deeper is left out.",
    "duplicate_keys": "An object in the stored value has a key twice; the last one counts.",
    "unknown_typed_value": "A value says that it is of a type that is not known; it is shown as it is stored.",
    "non_finite_number": "A number is not finite (NaN or Infinity); it is shown as null.",
    "integer_beyond_2_53": "An integer is larger than 2 to the power of 53: JavaScript loses its last digits.",
    "number_too_long": "A number has so many digits that it is shown as text.",
    "invalid_unicode": "A text holds half a surrogate pair, which is shown as U+FFFD.",
    "truncated_text": "A text is too long and is cut.",
    "result_too_large": "What the task stored is too large to be shown here.",
    "result_expired": "The task succeeded, and its result has expired since or was never stored.",
    "no_result": "The stored value has no `result`.",
    "no_task_id": "The stored value has no `task_id`: Celery's own `get()` fails on it.",
    "task_id_mismatch": "The stored value carries the id of another task.",
    "bad_date_done": "The `date_done` of the stored value is not a time.",
    "bad_children": "The `children` of the stored value, or some of them, are not what Celery writes.",
    "children_truncated": "The task started more tasks than are listed.",
    "nonstandard_failure": "The failure was not written the way Celery writes it: Celery's own readers raise on it.",
    "exc_type_not_text": "The `exc_type` of the failure is not a text.",
    "traceback_not_text": "The `traceback` of the failure is not a text.",
    "unwrapped_exception": "The exception could not be pickled, so Celery stored a wrapper; it is unwrapped.",
    "cancelled_by_worker": "The worker was stopped while the task ran. Nothing may ever retry it.",
    "progress_clamped": "The progress lies outside of 0 to 100 percent and is brought back into it.",
    # The record.
    "outcome_unknown": "The task has ended; how is not known.",
    "send_unconfirmed": "Whether the message of the task reached the broker is not known.",
}

#: nobody can read a state from these, nor can Celery's workers overwrite them: waiting for a change is pointless
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
    """No state can be read from a stored value; `code` says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def diagnose(codes: AbstractSet[str]) -> list[Diagnostic]:
    """Give the diagnostics of some codes, in the order of their codes."""
    return [_DIAGNOSTICS[code] for code in sorted(codes)]
