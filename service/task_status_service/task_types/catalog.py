"""The catalog: the task types and queues that clients may use. It reads the store through the given functions."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

import msgspec
from task_status_worker.record.announcement import Consumer, TaskType
from task_status_worker.record.keys import SEEN_SECONDS

from task_status_service.errors import TaskTypeNotFound, UnknownQueue, UnknownTaskType

#: seconds for which announcements are cached
FRESH_SECONDS: Final = 5.0
#: Celery's own tasks, such as `celery.backend_cleanup`; clients cannot submit them
_FORBIDDEN: Final = "celery."
#: errors of decoding a stored value
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
#: pattern of a queue name that clients or settings may contain
QUEUE_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,256}")


class TaskNames(msgspec.Struct, frozen=True):
    """The task names of a setting: exact ones, and `prefix.*`."""

    exact: frozenset[str]
    prefixes: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "TaskNames":
        """Read a comma-separated list of names and `prefix.*`.

        Raises:
            ValueError: a name is empty, or contains a `*` that is not part of a final `.*`.
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
    """A task type that may be submitted, and the number of its workers."""

    task_type: TaskType
    #: live worker instances that consume it from its default queue
    workers: int


class Catalog:
    """The task types that clients may submit."""

    def __init__(
        self,
        read: Callable[[], tuple[float, Mapping[bytes, bytes]]],
        *,
        read_consumers: Callable[[], Sequence[bytes]] = lambda: (),
        allowed: TaskNames | None = None,
        queues: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a catalog that has read nothing yet.

        Args:
            read: returns the time of the store, and the announcements by name.
            read_consumers: returns the announcement of each live worker instance.
            allowed: names that may be submitted, announced or not; None allows all announced ones.
            queues: queues to which clients may submit even if no live worker consumes them.
            clock: returns seconds.
        """
        self._read = read
        self._read_consumers = read_consumers
        self._allowed = allowed
        self._queues = frozenset(queues)
        self._clock = clock
        self._types: dict[str, TaskType] = {}
        self._fresh_until = float("-inf")
        #: task name and queue -> number of live worker instances that consume that task from that queue
        self._workers: Counter[tuple[str, str | None]] = Counter()
        self._consumed_queues: frozenset[str] = frozenset()
        self._workers_fresh_until = float("-inf")

    def find(self, name: str) -> TaskType:
        """Return the task type of a name.

        Raises:
            UnknownTaskType: no worker announces it, the setting does not allow it, or it is one of Celery's own.
        """
        if not _NAME.fullmatch(name) or name.startswith(_FORBIDDEN):
            raise UnknownTaskType
        found = self._announced(name)
        if self._allowed is not None and name not in self._allowed:
            raise UnknownTaskType(
                "The settings of this service do not allow this task name: add it to TASK_STATUS_TASKS."
            )
        if found is None and self._allowed is None:
            raise UnknownTaskType
        return found or TaskType(name)

    def check_queue(self, queue: str) -> None:
        """Check a queue that a client names: the broker would create a Redis key of that name.

        Raises:
            UnknownQueue: no live worker consumes the queue, and the settings do not allow it.
        """
        if queue in self._queues or queue in self._consumed_queues:
            return
        # A new worker may consume it.
        self._refresh_workers(at_once=True)
        if queue not in self._consumed_queues:
            raise UnknownQueue

    def is_announced(self, name: str) -> bool:
        """Return whether a worker announces a task type of this name."""
        return self._announced(name) is not None

    def available_types(self) -> list[AvailableTaskType]:
        """Return the types that may be submitted, by name; a type allowed only by a prefix must be announced."""
        self._refresh()
        names = self._types.keys() | (self._allowed.exact if self._allowed is not None else frozenset())
        return [
            self._with_workers(self._types.get(name) or TaskType(name))
            for name in sorted(names)
            if self._may_be_submitted(name)
        ]

    def available_type(self, name: str) -> AvailableTaskType:
        """Return the available type of a name.

        Raises:
            TaskTypeNotFound: no task type of this name may be submitted.
        """
        try:
            return self._with_workers(self.find(name))
        except UnknownTaskType as error:
            raise TaskTypeNotFound from error

    def _may_be_submitted(self, name: str) -> bool:
        return not name.startswith(_FORBIDDEN) and (self._allowed is None or name in self._allowed)

    def _with_workers(self, task_type: TaskType) -> AvailableTaskType:
        self._refresh_workers()
        return AvailableTaskType(task_type, self._workers[task_type.name, task_type.queue])

    def _refresh_workers(self, *, at_once: bool = False) -> None:
        if at_once or self._clock() >= self._workers_fresh_until:
            consumers = list(self._consumers())
            self._workers = Counter(
                (name, queue) for one in consumers for name in one.task_types for queue in one.queues
            )
            self._consumed_queues = frozenset(queue for one in consumers for queue in one.queues)
            self._workers_fresh_until = self._clock() + FRESH_SECONDS

    def _consumers(self) -> Iterator[Consumer]:
        """Yield the announcements of live worker instances; skip unreadable ones."""
        for stored in self._read_consumers():
            with contextlib.suppress(*_UNREADABLE):
                yield msgspec.json.decode(stored, type=Consumer)

    def _announced(self, name: str) -> TaskType | None:
        """Return an announced type; read the store again for an unknown name, which may be new."""
        self._refresh(at_once=name not in self._types and self._allowed is None)
        return self._types.get(name)

    def _refresh(self, *, at_once: bool = False) -> None:
        if at_once or self._clock() >= self._fresh_until:
            self._types = dict(self._readable(*self._read()))
            self._fresh_until = self._clock() + FRESH_SECONDS

    @staticmethod
    def _readable(now: float, announcements: Mapping[bytes, bytes]) -> Iterator[tuple[str, TaskType]]:
        """Yield the recent announcements by name; skip unreadable ones."""
        for stored in announcements.values():
            try:
                announced = msgspec.json.decode(stored, type=TaskType)
            except _UNREADABLE:
                continue
            if now - announced.announced_at < SEEN_SECONDS and _NAME.fullmatch(announced.name):
                yield announced.name, announced
