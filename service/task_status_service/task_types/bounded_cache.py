"""A cache with a limit of entries and of their size together."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class BoundedCache(Generic[K, V]):
    """The values that were stored last. Safe in threads and greenlets: a value may be lost, and is computed again."""

    def __init__(self, *, entries: int, size: int) -> None:
        """Create an empty cache; the limit of `size` has the unit of each stored size."""
        self._max_entries = entries
        self._max_size = size
        self._size = 0
        self._stored: dict[K, tuple[V, int]] = {}

    def get(self, key: K, default: V) -> V:
        """Return a stored value, or the default."""
        found = self._stored.get(key)
        return default if found is None else found[0]

    def store(self, key: K, value: V, size: int) -> None:
        """Store a value instead of an earlier one of this key, and discard the oldest values above a limit."""
        self._discard(key)
        while self._stored and (len(self._stored) >= self._max_entries or self._size + size > self._max_size):
            self._discard(next(iter(self._stored)))
        self._stored[key] = value, size
        self._size += size

    def _discard(self, key: K) -> None:
        found = self._stored.pop(key, None)
        if found is not None:
            self._size -= found[1]
