"""Task tokens: short-lived credentials for one task, for browsers. They are signed, so nothing is stored."""

import enum
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from task_status_service.access.caller import Scope


class TokenScope(enum.StrEnum):
    """Scopes that a task token may have."""

    READ = Scope.READ.value
    CANCEL = Scope.CANCEL.value


TOKEN_SCOPES: Final = frozenset(map(Scope, TokenScope))
MAX_TTL_SECONDS: Final = 86_400
_ID_BYTES: Final = 8
#: lets secret scanners find leaked tokens
PREFIX: Final = "tst_"
_SALT: Final = "task-status.task-token.1"


class TaskToken(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The signed contents of a task token."""

    task_id: str
    scopes: frozenset[Scope]
    #: id of the key that issued it; the token is valid only while that key is
    key_id: str
    #: expiry in whole seconds since the epoch
    expires: int
    #: random, so that each token has separate limits, also among tokens for one task that expire together
    id: str

    @property
    def expires_at(self) -> datetime:
        """Return the time of its expiry."""
        return datetime.fromtimestamp(self.expires, UTC)


def new_id() -> str:
    """Return a random id for a new token."""
    return secrets.token_urlsafe(_ID_BYTES)


def sign(token: TaskToken, secret: bytes) -> str:
    """Sign a token, and return its text."""
    text = _serializer(secret).dumps(msgspec.to_builtins(token))
    return PREFIX + (text if isinstance(text, str) else text.decode())


def verify(text: str, secret: bytes) -> TaskToken | None:
    """Read a token; None if the signature is invalid. The expiry is not checked."""
    try:
        signed: Any = _serializer(secret).loads(text.removeprefix(PREFIX))
        return msgspec.convert(signed, TaskToken)
    except (BadData, msgspec.MsgspecError, UnicodeEncodeError):
        return None


def expiry(now: datetime, ttl_seconds: int, latest: datetime | None) -> int:
    """Return the expiry of a new token: after `ttl_seconds`, and no later than `latest`, that of its key."""
    wanted = now + timedelta(seconds=ttl_seconds)
    return int(min(wanted, latest or wanted).timestamp())


def _serializer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    )
