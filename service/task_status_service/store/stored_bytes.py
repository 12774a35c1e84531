"""The bytes of Redis that a submission is charged with. Pure.

Estimates within 20 % of the growth of used_memory (tests/integration/store/test_stored_bytes.py), by constants that
were measured with Redis 7.0 and jemalloc. Progress, failures and results are not charged: tasks write them, and Celery
expires its results.
"""

from typing import Final, NamedTuple

import msgspec
from task_status_worker.record.model import Note

#: limit of a field of a hash that Redis stores as one listpack (hash-max-listpack-value)
SMALL_BYTES: Final = 64

#: a record of few short fields, when its task is done; its key with a TTL; its members of four sorted sets and one list
_RECORD_BYTES: Final = 1_000
_TIME_BYTES: Final = 20
#: members of the sorted sets of a label that other tasks have too; the first task of a label is not charged for keys
_LABEL_BYTES: Final = 270
#: a hash with one large field is a hash table, with a node for each field
_HASH_TABLE_BYTES: Final = 900
#: a key with a TTL
_KEY_BYTES: Final = 170
#: headers and properties of a message
_ENVELOPE_BYTES: Final = 950
#: Celery adds the arguments to the headers as text of up to this length (celery/app/amqp.py, argsrepr_maxsize)
_MAX_REPR: Final = 1_024


class Charge(NamedTuple):
    """The bytes of one task, in three parts that are given back at different times."""

    #: the record and its members of the index, until the task expires or is forgotten
    record: int
    #: Celery's message, until the task is done
    message: int
    #: a call with a separate key, until its arguments expire
    call: int

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self)

    @property
    def packed(self) -> str:
        """Return the parts in the format of shared.lua."""
        return ",".join(map(str, self))


def charge_of(submitted: Note, packed_call: bytes, *, holds_message: bool) -> Charge:
    """Return the charge for a submission; `holds_message` means that the same Redis holds the message."""
    is_small = len(packed_call) <= SMALL_BYTES
    return Charge(
        record=_record_bytes(submitted, packed_call if is_small else b""),
        message=_message_bytes(submitted, packed_call) if holds_message else 0,
        call=0 if is_small else _KEY_BYTES + _allocated(len(packed_call)),
    )


def _record_bytes(submitted: Note, call: bytes) -> int:
    texts = (submitted.name or "", submitted.owner or "", submitted.queue or "")
    labels = len(msgspec.json.encode(submitted.labels)) if submitted.labels else 0
    sizes = [*(len(text.encode()) for text in texts), labels, len(call)]
    times = sum(moment is not None for moment in (submitted.scheduled_for, submitted.expires_at))
    is_hash_table = max(sizes) > SMALL_BYTES
    return (
        _RECORD_BYTES
        + times * _TIME_BYTES
        + len(submitted.labels or ()) * _LABEL_BYTES
        + sum(_allocated(size) if size > SMALL_BYTES else size for size in sizes)
        + is_hash_table * _HASH_TABLE_BYTES
    )


def _message_bytes(submitted: Note, packed_call: bytes) -> int:
    size = len(packed_call)
    if not packed_call.isascii():
        # kombu escapes them: two bytes of UTF-8 become six characters.
        size += 2 * (size - len(packed_call.decode().encode("ascii", "ignore")))
    texts = len((submitted.name or "").encode()) + 2 * len((submitted.queue or "").encode())
    # kombu encodes the body as Base64.
    return _allocated(_ENVELOPE_BYTES + texts + min(size, _MAX_REPR) + size * 4 // 3)


def _allocated(size: int) -> int:
    """Return the size class of jemalloc for a size: there are four classes between two powers of two."""
    step = max(8, 1 << max(0, (max(size, 1) - 1).bit_length() - 3))
    return -(-size // step) * step
