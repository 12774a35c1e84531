"""Task tokens: what a browser is given instead of a key. Signed, so that nothing need be stored; short-lived."""

import enum
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from task_status_service.access.caller import Scope


class TokenScope(enum.StrEnum):
    """What a task token may be good for."""

    READ = Scope.READ.value
    CANCEL = Scope.CANCEL.value


TOKEN_SCOPES: Final = frozenset(map(Scope, TokenScope))
MAX_TTL_SECONDS: Final = 86_400
#: for those who look for tokens where none should be
PREFIX: Final = "tst_"
_SALT: Final = "task-status.task-token.1"


class TaskToken(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Say what a token is good for."""

    task_id: str
    scopes: frozenset[Scope]
    #: the key that it was made by: it counts no longer than that
    key_id: str
    #: in whole seconds since the epoch
    expires: int

    @property
    def expires_at(self) -> datetime:
        """Give the time from which on it does not count."""
        return datetime.fromtimestamp(self.expires, UTC)


def sign(token: TaskToken, secret: bytes) -> str:
    """Write a token as the text that its holder gets."""
    text = _serializer(secret).dumps(msgspec.to_builtins(token))
    return PREFIX + (text if isinstance(text, str) else text.decode())


def verify(text: str, secret: bytes) -> TaskToken | None:
    """Read a token, which may have expired; None if it was not signed with this secret."""
    try:
        signed: Any = _serializer(secret).loads(text.removeprefix(PREFIX))
        return msgspec.convert(signed, TaskToken)
    except (BadData, msgspec.MsgspecError, UnicodeEncodeError):
        return None


def expiry(now: datetime, ttl_seconds: int, latest: datetime | None) -> int:
    """Say when a token expires that is made now: after so many seconds, and not after its key."""
    wanted = now + timedelta(seconds=ttl_seconds)
    return int(min(wanted, latest or wanted).timestamp())


def _serializer(secret: bytes) -> URLSafeSerializer:
    return URLSafeSerializer(
        secret, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"}
    )
