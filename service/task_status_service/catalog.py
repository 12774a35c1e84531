"""Which task types may be submitted, as the workers announced it.

Does no I/O of its own: `read` is handed in, and what it returned is used for a moment before it is called again.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec
from task_status_worker.keys import SEEN_SECONDS

from task_status_service.errors import UnknownTaskType

#: how long announcements are used before they are read again
FRESH_SECONDS: Final = 5.0
#: Celery's own tasks, such as `celery.backend_cleanup`: never submitted from outside
_FORBIDDEN: Final = "celery."
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")


class TaskNames(msgspec.Struct, frozen=True):
    """Say which names may be submitted: exact ones, and `prefix.*`."""

    exact: frozenset[str]
    prefixes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "TaskNames":
        """Read a comma-separated list of names and `prefix.*`.

        Raises:
            ValueError: a name is empty, or has a `*` elsewhere than in a last `.*`.
        """
        names = [name.strip() for name in text.split(",")]
        prefixes = tuple(name.removesuffix("*") for name in names if name.endswith(".*"))
        exact = frozenset(name for name in names if not name.endswith(".*"))
        for name in (*exact, *prefixes):
            if not _NAME.fullmatch(name) or "*" in name or name == ".":
                raise ValueError(f"{name!r} is neither a task name nor prefix.*")
        return cls(exact, prefixes)

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.startswith(self.prefixes)


class TaskType(msgspec.Struct, frozen=True):
    """Describe one task type: the registered name and its signature."""

    name: str
    doc: str | None = None
    #: where it is sent unless the submission says otherwise; None: the default queue
    queue: str | None = None
    #: JSON Schema of its arguments by name; `true` takes anything
    arguments: msgspec.Raw = msgspec.Raw(b"true")
    #: the names that may also be given by position, in their order
    positional: list[str] = []
    #: it takes more arguments by position than it names
    var_positional: bool = True
    #: seconds since the epoch, by the Redis clock
    announced_at: float = 0.0


class Catalog:
    """Find task types by name and check arguments against their schema."""

    def __init__(
        self,
        read: Callable[[], tuple[float, Mapping[bytes, bytes]]],
        *,
        allowed: TaskNames | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take `read`, which gives the store's time and its announcements by name."""
        self._read = read
        self._allowed = allowed
        self._clock = clock
        self._types: dict[str, TaskType] = {}
        self._fresh_until = float("-inf")

    def find(self, name: str) -> TaskType:
        """Find the type that may be submitted under this name.

        Raises:
            UnknownTaskType: no worker announces it and no setting allows it, or it is one of Celery's own.
        """
        if not _NAME.fullmatch(name) or name.startswith(_FORBIDDEN):
            raise UnknownTaskType
        found = self._announced(name)
        if self._allowed is not None and name not in self._allowed:
            raise UnknownTaskType("The settings of this service do not allow a task of this name to be submitted.")
        if found is None and self._allowed is None:
            raise UnknownTaskType
        return found or TaskType(name)

    def is_announced(self, name: str) -> bool:
        """Tell whether workers with the kit take tasks of this name."""
        return self._announced(name) is not None

    def _announced(self, name: str) -> TaskType | None:
        """Look a name up; one that is not there may have been announced a moment ago."""
        if self._clock() >= self._fresh_until or (name not in self._types and self._allowed is None):
            self._types = dict(self._readable(*self._read()))
            self._fresh_until = self._clock() + FRESH_SECONDS
        return self._types.get(name)

    @staticmethod
    def _readable(now: float, announcements: Mapping[bytes, bytes]) -> Iterator[tuple[str, TaskType]]:
        """Read the announcements that are recent; what cannot be read is not announced."""
        for stored in announcements.values():
            try:
                announced = msgspec.json.decode(stored, type=TaskType)
            except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
                continue
            if now - announced.announced_at < SEEN_SECONDS:
                yield announced.name, announced
