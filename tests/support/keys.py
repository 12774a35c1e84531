"""Keys for tests: a ring that can be changed, a file for a real server, and the headers of who holds which."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from task_status_service.access.api_keys import KeyFile, Keyring, new_key
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import change
from task_status_service.access.rate_limit import RateLimit
from task_status_service.api.auth.rate_limits import Limits

#: so that a test may fail to authenticate as often as it likes
UNLIMITED = Limits(failures=RateLimit(1_000_000, 1_000_000))
WORKING = (Scope.SUBMIT, Scope.READ, Scope.CANCEL)


class MemoryKeys:
    """Keep keys in memory."""

    def __init__(self) -> None:
        self.kept = KeyFile.new()
        self.current = Keyring(self.kept)

    def add(self, name: str, scopes: Iterable[Scope] = WORKING, *, expires_at: datetime | None = None) -> str:
        """Add a key; give it as its owner gets it."""
        key, text = new_key(name, scopes, created_at=datetime(2026, 1, 1, tzinfo=UTC), expires_at=expires_at)
        self._set(self.kept.with_key(key))
        return text

    def revoke(self, text: str) -> None:
        """Revoke the key that somebody has."""
        self._set(self.kept.without_key(text.split("_")[1]))

    def _set(self, kept: KeyFile) -> None:
        self.kept, self.current = kept, Keyring(kept)


def add_key(file: Path, name: str, scopes: Iterable[Scope] = WORKING) -> str:
    """Add a key to a file of keys, which is made if it is not there; give it as its owner gets it."""
    key, text = new_key(name, scopes, created_at=datetime.now(UTC))
    change(file, lambda kept: kept.with_key(key))
    return text


def bearer(text: str) -> dict[str, str]:
    """Give the headers of who holds a key or a token."""
    return {"Authorization": f"Bearer {text}"}
