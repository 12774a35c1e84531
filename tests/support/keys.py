"""Keys for tests: a keyring in memory, a keys file for a real server, and Authorization headers."""

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from task_status_service.access.api_keys import KeyFile, Keyring, new_key
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import change
from task_status_service.api.auth.rate_limits import Limits

#: for tests with many failed authentications: a clock that advances by minutes between two requests
UNLIMITED = Limits(clock_ns=itertools.count(0, 1_000_000_000_000).__next__)
WORKING = (Scope.SUBMIT, Scope.READ, Scope.CANCEL)


class MemoryKeys:
    """API keys in memory."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Delete all keys."""
        self._set(KeyFile.new())

    def current(self) -> Keyring:
        """Return the keys; a changed set of keys is a new object."""
        return self._keyring

    def add(self, name: str, scopes: Iterable[Scope] = WORKING, *, expires_at: datetime | None = None) -> str:
        """Add a key, and return its text."""
        key, text = new_key(name, scopes, created_at=datetime(2026, 1, 1, tzinfo=UTC), expires_at=expires_at)
        self._set(self.kept.with_key(key))
        return text

    def revoke(self, text: str) -> None:
        """Revoke a key by its text."""
        self._set(self.kept.without_key(text.split("_")[1]))

    def _set(self, kept: KeyFile) -> None:
        self.kept, self._keyring = kept, Keyring(kept)


def add_key(file: Path, name: str, scopes: Iterable[Scope] = WORKING) -> str:
    """Add a key to a keys file, which is created if it does not exist, and return its text."""
    key, text = new_key(name, scopes, created_at=datetime.now(UTC))
    change(file, lambda kept: kept.with_key(key))
    return text


def bearer(text: str) -> dict[str, str]:
    """Return the Authorization header for a key or a token."""
    return {"Authorization": f"Bearer {text}"}
