"""API keys and the keyring of a server, without I/O; keys_file.py reads and writes them."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Final

import msgspec

from task_status_service.access.caller import Scope

#: names of owners, which are part of Redis keys
OWNER_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
#: an id of 48 and a secret of 256 random bits; the prefix lets secret scanners find leaked keys
_KEY: Final = re.compile(r"tsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
#: dummy digest, so that rejecting an unknown id takes as long as rejecting a wrong secret
_NO_DIGEST: Final = hashlib.sha256(b"").hexdigest()


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A stored key, without its secret. Times are timezone-aware."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{12}\Z")]
    #: the owner; several keys may share it, so that a new key can replace an old one
    name: Annotated[str, msgspec.Meta(pattern=rf"^{OWNER_NAME}\Z")]
    #: hexadecimal digest; a slow hash is not needed, because the secret has 256 random bits
    secret_sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    scopes: frozenset[Scope]
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    #: None means that it does not expire
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class KeyFile(msgspec.Struct, frozen=True, kw_only=True):
    """Contents of a keys file."""

    #: secret that signs task tokens, in hexadecimal
    signing_secret: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
    keys: tuple[ApiKey, ...] = ()

    @classmethod
    def new(cls) -> "KeyFile":
        """Create contents without keys, and with a new signing secret."""
        return cls(signing_secret=secrets.token_hex(_SECRET_BYTES))

    def with_key(self, key: ApiKey) -> "KeyFile":
        """Return a copy with another key."""
        return msgspec.structs.replace(self, keys=(*self.keys, key))

    def without_key(self, key_id: str) -> "KeyFile":
        """Return a copy without the key of an id."""
        return msgspec.structs.replace(self, keys=tuple(key for key in self.keys if key.id != key_id))


def new_key(
    name: str, scopes: Iterable[Scope], *, created_at: datetime, expires_at: datetime | None = None
) -> tuple[ApiKey, str]:
    """Create a key; return its stored form, and its text, which cannot be recovered later."""
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
    """The valid keys of a server."""

    def __init__(self, kept: KeyFile) -> None:
        self._keys = {key.id: key for key in kept.keys}
        self.signing_secret = bytes.fromhex(kept.signing_secret)

    def key(self, key_id: str, now: datetime) -> ApiKey | None:
        """Return the key of an id; None if it is unknown or expired."""
        key = self._keys.get(key_id)
        return key if key and (key.expires_at is None or now < key.expires_at) else None

    def key_of(self, presented: str, now: datetime) -> ApiKey | None:
        """Return the key of a text from a request; None if it is malformed, unknown, wrong or expired."""
        match = _KEY.fullmatch(presented)
        if match is None:
            return None
        key = self.key(match[1], now)
        matches = hmac.compare_digest(_digest(match[2]), key.secret_sha256 if key else _NO_DIGEST)
        return key if matches else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
