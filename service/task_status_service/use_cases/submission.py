"""What a client asks for, and how the store keeps it: the nouns that submitting, store and broker share."""

from datetime import datetime
from typing import Any, Final

import msgspec

#: how long the same key gives the same answer
CLAIM_SECONDS: Final = 86_400
#: how long a key belongs to the request that claimed it before another one may go on in its place; longer than any
#: submission takes, which is four seconds at the most (store.py, broker.py)
LEASE_SECONDS: Final = 10


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: one task, to be run once. Times are aware."""

    name: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: not before this time
    scheduled_for: datetime | None = None
    #: not after this time
    expires_at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    labels: dict[str, str] = {}


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is asked to run: kept beside the record, so that it can be asked for again."""

    name: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    #: where it was sent; None: where it belongs
    queue: str | None = None
    priority: int | None = None


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A client's word that all requests with this key are one and the same, so that they make one task."""

    key: str
    #: tells what was asked for from anything else
    fingerprint: str
    #: whose key it is: two owners may use the same
    owner: str = ""


class Recorded(msgspec.Struct, frozen=True):
    """The submission is recorded, and its key claimed."""

    #: when, by the store's clock
    at: datetime


class Interrupted(msgspec.Struct, frozen=True):
    """An earlier request with this key got no answer, and it is this one's to go on. Nothing is recorded."""

    #: what the earlier one has recorded, and may or may not have sent
    task_id: str


class Claimed(msgspec.Struct, frozen=True):
    """The key was claimed by an earlier request. Nothing is recorded."""

    #: it asked for the same
    is_same: bool
    #: what it was answered; None: it is still at it
    answer: bytes | None
