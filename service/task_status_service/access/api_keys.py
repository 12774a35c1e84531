"""API keys, and the ring that a server holds. Pure: where keys are kept is keys_file.py's."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

import msgspec

from task_status_service.access.caller import Scope

#: what an owner may be called: it is part of the names of keys in Redis
OWNER_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
#: an id of 48 and a secret of 256 random bits; the prefix is for those who look for keys where none should be
_KEY: Final = re.compile(r"tsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
#: compared with for an id that there is none of, so that it takes as long
_NO_DIGEST: Final = hashlib.sha256(b"").hexdigest()


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept: without its secret. Times are aware."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{12}\Z")]
    #: whose it is: several keys of one name are one owner, so that one can replace another
    name: Annotated[str, msgspec.Meta(pattern=rf"^{OWNER_NAME}\Z")]
    #: of the secret, in hexadecimal. It has 256 random bits, so nothing slower is needed.
    secret_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    scopes: frozenset[Scope]
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    #: from when on it does not count any more; None: it does until it is revoked
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """All that a keys file holds."""

    #: what task tokens are signed with, in hexadecimal
    signing_secret: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    keys: tuple[ApiKey, ...] = ()

    @classmethod
    def new(cls) -> "KeyFile":
        """Make one without keys, and with a secret of its own."""
        return cls(signing_secret=secrets.token_hex(_SECRET_BYTES))

    def with_key(self, key: ApiKey) -> "KeyFile":
        """Add a key."""
        return msgspec.structs.replace(self, keys=(*self.keys, key))

    def without_key(self, key_id: str) -> "KeyFile":
        """Take away the key of an id, if there is one."""
        return msgspec.structs.replace(self, keys=tuple(key for key in self.keys if key.id != key_id))


def new_key(
    name: str, scopes: Iterable[Scope], *, created_at: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Make a key; give it as it is kept, and as its owner gets it, once."""
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        id=key_id,
        name=name,
        secret_sha256=_digest(secret),
        scopes=frozenset(scopes),
        created_at=created_at,
        expires_at=expires_at,
    )
    return key, f"tsk_{key_id}_{secret}"


class Keyring:
    """Tell which keys count."""

    def __init__(self, kept: KeyFile) -> None:
        self._keys = {key.id: key for key in kept.keys}
        self.signing_secret = bytes.fromhex(kept.signing_secret)

    def key(self, key_id: str, now: datetime) -> ApiKey | None:
        """Give the key of an id; None if it does not count now."""
        key = self._keys.get(key_id)
        return key if key and (key.expires_at is None or now < key.expires_at) else None

    def key_of(self, presented: str, now: datetime) -> ApiKey | None:
        """Give the key that somebody presents; None if it does not count now, for whatever reason."""
        match = _KEY.fullmatch(presented)
        if match is None:
            return None
        key = self.key(match[1], now)
        is_it = hmac.compare_digest(_digest(match[2]), key.secret_sha256 if key else _NO_DIGEST)
        return key if is_it else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
