"""The causes of errors of Redis: texts for callers and operators, and the cause of an exception."""

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import hiredis
import msgspec
import redis
from task_status_worker.record.sentinel import MasterUnknown


class Cause(msgspec.Struct, frozen=True):
    """One cause of an error of the store."""

    #: for a caller: a sentence
    public: str
    #: for an operator: the predicate of a sentence about Redis, and the remedy
    operator: str
    #: no heartbeat can be read or written
    is_outage: bool = True


SILENT: Final = Cause("The store does not answer: retry later.", "does not answer. Check the server and the network.")
REFUSED: Final = Cause(
    "The store refuses connections: retry later.",
    "refuses connections. Start it, or correct host and port in the URL.",
)
NAME: Final = Cause(
    "The host name of the store is unknown: retry later.",
    "has an unknown host name. Correct it in the URL, or correct the name service.",
)
NO_SOCKET: Final = Cause(
    "The socket of the store cannot be opened: retry later.",
    "has a socket that cannot be opened. Start it, or correct the path or its permissions.",
)
TLS: Final = Cause(
    "The encrypted connection to the store failed: retry later.",
    "does not accept the TLS connection. Check the certificates, and that the port is its TLS port.",
)
PROTOCOL: Final = Cause(
    "The connection to the store failed: retry later.",
    "closes connections, or answers in another protocol. For a TLS port use rediss:// instead of redis://.",
)
CREDENTIALS: Final = Cause(
    "The store rejects the credentials of this service: retry after they are corrected.",
    "rejects the user or the password. Correct them in the URL, or in the ACL of Redis.",
)
FORBIDDEN: Final = Cause(
    "The store denies this service a permission: retry after it is granted.",
    "denies a permission{detail}. Grant it to the user of this service: see docs/redis-users.md.",
    is_outage=False,
)
WRONG_TYPE: Final = Cause(
    "The store contains a key of a wrong type: retry after it is deleted.",
    "contains a key of a wrong type{detail}. Delete it: nothing of this service or of Celery can be in it.",
    is_outage=False,
)
FULL: Final = Cause(
    "The store is full and rejects writes: read requests still work, retry writes later.",
    "is full (maxmemory). Raise `maxmemory`, or delete keys.",
    is_outage=False,
)
DISK: Final = Cause(
    "The store cannot save its data and rejects writes: read requests still work, retry writes later.",
    "rejects writes, because it cannot save to disk. Check the disk and the log of Redis.",
)
READ_ONLY: Final = Cause(
    "The store is read-only at present: retry later.",
    "is a replica and rejects writes. Connect to the master; with Sentinel, use a sentinel:// URL.",
)
NO_REPLICAS: Final = Cause(
    "The store has too few replicas and rejects writes: retry later.",
    "rejects writes, because it has fewer replicas than `min-replicas-to-write`. Start a replica.",
)
LOADING: Final = Cause(
    "The store loads its data: retry later.",
    "loads its data after a start. It answers when it has finished.",
)
BUSY: Final = Cause(
    "The store is busy with a script: retry later.",
    "runs a slow script. Wait, or run SCRIPT KILL.",
)
TOO_MANY_CLIENTS: Final = Cause(
    "The store accepts no more connections: retry later.",
    "has too many clients. Raise `maxclients`, or close connections.",
)
NO_CONNECTION: Final = Cause(
    "This server has too many concurrent requests to the store: retry later.",
    "is slower than the requests: all connections of this process are in use.",
)
PROTECTED: Final = Cause(
    "The store refuses connections: retry later.",
    "refuses connections of other machines (protected mode). Set a password, or `protected-mode no`.",
)
FAILOVER: Final = Cause(
    "The store fails over to another server: retry later.",
    "has no master at present: {detail}.",
)
OTHER: Final = Cause(
    "The store returned an error: retry later.",
    "returned an error: {detail}.",
)

#: the code at the start of a Redis error, also within the error of a script or a pipeline
_CODE: Final = re.compile(
    r"(?:^|[\s:\-])"
    r"(WRONGPASS|NOAUTH|NOPERM|WRONGTYPE|OOM|MISCONF|READONLY|NOREPLICAS|LOADING|BUSY|DENIED|MASTERDOWN)(?=\s)"
)
_CAUSES: Final = {
    "WRONGPASS": CREDENTIALS,
    "NOAUTH": CREDENTIALS,
    "NOPERM": FORBIDDEN,
    "WRONGTYPE": WRONG_TYPE,
    "OOM": FULL,
    "MISCONF": DISK,
    "READONLY": READ_ONLY,
    "NOREPLICAS": NO_REPLICAS,
    "LOADING": LOADING,
    "BUSY": BUSY,
    "DENIED": PROTECTED,
    "MASTERDOWN": READ_ONLY,
}
#: redis-py removes the code of these from the text
_CLASSES: Final[tuple[tuple[type[BaseException], Cause], ...]] = (
    (MasterUnknown, FAILOVER),
    (redis.exceptions.NoPermissionError, FORBIDDEN),
    (redis.AuthenticationError, CREDENTIALS),
    (redis.OutOfMemoryError, FULL),
    (redis.exceptions.ReadOnlyError, READ_ONLY),
    (redis.BusyLoadingError, LOADING),
    (redis.InvalidResponse, PROTOCOL),
    (hiredis.ProtocolError, PROTOCOL),
    (ssl.SSLError, TLS),
    (socket.gaierror, NAME),
    (FileNotFoundError, NO_SOCKET),
    (PermissionError, NO_SOCKET),
    (ConnectionRefusedError, REFUSED),
    (ConnectionResetError, PROTOCOL),
)
_FORBIDDEN_COMMAND: Final = re.compile(
    r"permissions to (?:run|execute) the '([\w|.-]{1,40})' command|(key|channel)s? used"
)
#: texts of redis-py and of Redis that have no code
_TEXTS: Final = {
    "max number of clients reached": TOO_MANY_CLIENTS,
    # A server without TLS does not answer the first message of TLS.
    "handshake operation timed out": TLS,
    "No connection available": NO_CONNECTION,
    "closed by server": PROTOCOL,
}
_MAX_DETAIL: Final = 200


def cause_of(error: BaseException) -> Cause:
    """Return the cause of an exception of redis-py, of hiredis or of the operating system."""
    chain = list(_chain(error))
    for one in chain:
        for kind, cause in _CLASSES:
            if isinstance(one, kind):
                return cause
        if found := _CODE.search(str(one)):
            return _CAUSES[found[1]]
    for text, cause in _TEXTS.items():
        if any(text in str(one) for one in chain):
            return cause
    is_connection = any(isinstance(one, redis.ConnectionError | redis.TimeoutError | OSError) for one in chain)
    return SILENT if is_connection else OTHER


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it: redis-py replaces those of the operating system."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def detail_of(cause: Cause, error: BaseException) -> str:
    """Return the detail of an error that is safe to log: redis-py may quote keys, users and values."""
    text = str(error)
    if cause is FORBIDDEN and (found := _FORBIDDEN_COMMAND.search(text)):
        return f" to run `{found[1].upper()}`" if found[1] else f" for a {found[2]}"
    if cause is FAILOVER:
        return next(str(one) for one in _chain(error) if isinstance(one, MasterUnknown))
    return text[:_MAX_DETAIL] if cause is OTHER else ""
