"""Which task types may be submitted, as the workers announced it.

Does no I/O of its own: `read` is handed in, and what it returned is used for a moment before it is called again.
"""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from task_status_worker.record.announcement import Consumer, TaskType
from task_status_worker.record.keys import SEEN_SECONDS

from task_status_service.errors import TaskTypeNotFound, UnknownTaskType

#: how long announcements are used before they are read again
FRESH_SECONDS: Final = 5.0
#: Celery's own tasks, such as `celery.backend_cleanup`: never submitted from outside
_FORBIDDEN: Final = "celery."
#: what decoding a stored value may raise
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
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


class AvailableTaskType(msgspec.Struct, frozen=True):
    """AvailableTaskType a task type: it may be submitted, and so many workers would run it."""

    task_type: TaskType
    #: live worker instances that know it and read the queue where it goes
    workers: int


class Catalog:
    """Find task types by name, and list them."""

    def __init__(
        self,
        read: Callable[[], tuple[float, Mapping[bytes, bytes]]],
        *,
        read_serving: Callable[[], Sequence[bytes]] = lambda: (),
        allowed: TaskNames | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what reads the store.

        `read` gives the store's time and its announcements by name, `read_serving` what each live worker instance
        serves.
        """
        self._read = read
        self._read_serving = read_serving
        self._allowed = allowed
        self._clock = clock
        self._types: dict[str, TaskType] = {}
        self._fresh_until = float("-inf")
        #: name and queue -> how many live worker instances know the one and read the other
        self._workers: Counter[tuple[str, str | None]] = Counter()
        self._workers_fresh_until = float("-inf")

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

    def offers(self) -> list[AvailableTaskType]:
        """List the types that may be submitted, by name; of what is allowed by prefix those that are announced."""
        self._refresh()
        names = self._types.keys() | (self._allowed.exact if self._allowed is not None else frozenset())
        return [
            self._offer(self._types.get(name) or TaskType(name)) for name in sorted(names) if self._is_offered(name)
        ]

    def offer(self, name: str) -> AvailableTaskType:
        """Give the type that may be submitted under this name.

        Raises:
            TaskTypeNotFound: there is none.
        """
        try:
            return self._offer(self.find(name))
        except UnknownTaskType as error:
            raise TaskTypeNotFound from error

    def _is_offered(self, name: str) -> bool:
        return not name.startswith(_FORBIDDEN) and (self._allowed is None or name in self._allowed)

    def _offer(self, task_type: TaskType) -> AvailableTaskType:
        if self._clock() >= self._workers_fresh_until:
            self._workers = Counter(
                (name, queue) for one in self._served() for name in one.task_types for queue in one.queues
            )
            self._workers_fresh_until = self._clock() + FRESH_SECONDS
        return AvailableTaskType(task_type, self._workers[task_type.name, task_type.queue])

    def _served(self) -> Iterator[Consumer]:
        """Read what the live worker instances serve; what cannot be read serves nothing."""
        for stored in self._read_serving():
            with contextlib.suppress(*_UNREADABLE):
                yield msgspec.json.decode(stored, type=Consumer)

    def _announced(self, name: str) -> TaskType | None:
        """Look a name up; one that is not there may have been announced a moment ago."""
        self._refresh(at_once=name not in self._types and self._allowed is None)
        return self._types.get(name)

    def _refresh(self, *, at_once: bool = False) -> None:
        if at_once or self._clock() >= self._fresh_until:
            self._types = dict(self._readable(*self._read()))
            self._fresh_until = self._clock() + FRESH_SECONDS

    @staticmethod
    def _readable(now: float, announcements: Mapping[bytes, bytes]) -> Iterator[tuple[str, TaskType]]:
        """Read the announcements that are recent; what cannot be read is not announced."""
        for stored in announcements.values():
            try:
                announced = msgspec.json.decode(stored, type=TaskType)
            except _UNREADABLE:
                continue
            if now - announced.announced_at < SEEN_SECONDS and _NAME.fullmatch(announced.name):
                yield announced.name, announced
