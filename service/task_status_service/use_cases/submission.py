"""Submissions: the structs and Protocols that the use cases, the store and the broker share."""

from datetime import datetime
from typing import Any, Final, Protocol

import msgspec

#: time for which an idempotency key returns the same response
CLAIM_SECONDS: Final = 86_400
#: lease of an idempotency key; after it, the next request with the key resumes the submission. A submission takes at
#: most four seconds (store/records.py, broker.py)
LEASE_SECONDS: Final = 10


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """The call that a worker runs: stored beside the record, so that it can be sent again."""

    name: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: None means the queue of the task type
    queue: str | None = None
    priority: int | None = None


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """A task to be run once. Times are aware."""

    call: Call
    #: not before this time
    scheduled_for: datetime | None = None
    #: not after this time
    expires_at: datetime | None = None
    labels: dict[str, str] = {}


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The claim of an idempotency key: all requests with this key create one task."""

    key: str
    #: digest of the request, of 16 bytes; the same key with another fingerprint is a conflict
    fingerprint: bytes
    #: owner of the key: two owners may use the same key
    owner: str = ""


class Recorded(msgspec.Struct, frozen=True):
    """The submission is recorded, and its key is claimed."""

    #: time of the record, by the store's clock
    at: datetime


class Interrupted(msgspec.Struct, frozen=True):
    """An earlier request with this key has no stored answer; this request now holds the lease. Nothing is recorded."""

    #: the task that the earlier request recorded, and may have sent
    task_id: str


class Claimed(msgspec.Struct, frozen=True):
    """The key was claimed by an earlier request. Nothing is recorded."""

    #: whether the earlier request had the same fingerprint
    is_same: bool
    #: the task of the earlier request
    task_id: str
    #: the packed answer to the earlier request (answers.py); None while that request is in progress
    answer: bytes | None


class CallStore(Protocol):
    """A store of calls. Raises `StoreUnavailable`."""

    def call(self, task_id: str) -> Call | None:
        """Read the call of a task; None if it is not stored."""
        ...


class MessageBroker(Protocol):
    """A broker that sends messages to the workers. Raises `BrokerUnavailable`; `StoreFull` if it rejects writes."""

    def send(self, task_id: str, submission: Submission, *, queue: str, retries: int = 0) -> None:
        """Send one message, once; after an error it may or may not have been sent.

        `retries` is the number of earlier attempts of the task.
        """
        ...
