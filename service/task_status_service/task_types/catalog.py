"""The catalog: the task types and queues that clients may use. It reads the announcements through a Protocol."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
from task_status_worker.record.announcement import TaskType

from task_status_service.errors import NotReady, TaskTypeNotFound, UnknownQueue, UnknownTaskType
from task_status_service.task_types.announced import is_task_name, read_consumer, read_task_type
from task_status_service.task_types.bounded_cache import BoundedCache
from task_status_service.task_types.queue_names import is_queue_name
from task_status_service.task_types.suggestions import unknown_task_type

#: seconds for which announcements are cached
FRESH_SECONDS: Final = 5.0
#: seconds for which it is cached that no worker announces a name, or consumes a queue: a new worker may do so
UNKNOWN_SECONDS: Final = 1.0
#: seconds for which an announcement is used after its last read: another program may have deleted or overwritten it,
#: and its worker announces it again within a minute
KEPT_SECONDS: Final = 120.0
#: names that one process caches, and the bytes of their announcements
MAX_CACHED: Final = 4_096
MAX_CACHED_BYTES: Final = 8_388_608
_NO_TYPES: Final = "No worker has announced a task type yet: start a worker with `install(app)`, and retry."
#: Celery's own tasks, such as `celery.backend_cleanup`; clients cannot submit them
_FORBIDDEN: Final = "celery."


class Announcements(NamedTuple):
    """The announcements of task types, of which a store with too many returns a part."""

    #: seconds by the clock of the store
    now: float
    stored: Sequence[bytes]
    is_complete: bool


class AnnouncementStore(Protocol):
    """The announcements of workers, each as it is stored. Raises `StoreUnavailable`."""

    def announcement(self, name: str) -> tuple[float, bytes | None]:
        """Read the announcement of one task type, and the time of the store."""
        ...

    def announcements(self) -> Announcements:
        """Read the announcements of task types."""
        ...

    def consumers(self) -> Sequence[bytes] | None:
        """Read what each live worker instance consumes; None if a key is missing or has another type."""
        ...


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
            if not is_task_name(name) or "*" in name or name == ".":
                raise ValueError(f"{name!r} is neither a task name nor prefix.*")
        return cls(exact, prefixes)

    def __contains__(self, name: str) -> bool:
        return name in self.exact or name.startswith(self.prefixes)


class AvailableTaskType(msgspec.Struct, frozen=True):
    """A task type that may be submitted, and the number of its workers."""

    task_type: TaskType
    #: live worker instances that consume it from its default queue
    workers: int


class AvailableTaskTypes(msgspec.Struct, frozen=True):
    """The task types that may be submitted, by name."""

    items: list[AvailableTaskType]
    #: there are no others
    is_complete: bool


class _Known(NamedTuple):
    """The announced type of a name, or None, until it is read again."""

    task_type: TaskType | None
    #: bytes of the announcement
    size: int
    fresh_until: float
    #: time until which the type is used if it is no longer found
    kept_until: float


class Catalog:
    """The task types that clients may submit."""

    def __init__(
        self,
        store: AnnouncementStore,
        *,
        allowed: TaskNames | None = None,
        queues: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create a catalog that has read nothing yet.

        Args:
            store: the announcements.
            allowed: names that may be submitted, announced or not; None allows all announced ones.
            queues: queues to which clients may submit even if no live worker consumes them.
            clock: returns seconds.
        """
        self._store = store
        self._allowed = allowed
        self._queues = frozenset(queues)
        self._clock = clock
        self._known: BoundedCache[str, _Known | None] = BoundedCache(entries=MAX_CACHED, size=MAX_CACHED_BYTES)
        self._listed: dict[str, TaskType] = {}
        self._is_complete = True
        self._listed_until = float("-inf")
        self._listed_kept_until = float("-inf")
        #: task name -> the queues of each live worker instance that knows it
        self._consumers: dict[str, list[frozenset[str]]] = {}
        self._consumed_queues: frozenset[str] = frozenset()
        self._consumers_read_at = float("-inf")
        self._consumers_kept_until = float("-inf")

    def find(self, name: str) -> TaskType:
        """Return the task type of a name.

        Raises:
            UnknownTaskType: no worker announces it, the setting does not allow it, or it is one of Celery's own.
            NotReady: no worker has announced any task type yet.
        """
        if not is_task_name(name) or name.startswith(_FORBIDDEN):
            raise UnknownTaskType
        if self._allowed is not None and name not in self._allowed:
            raise UnknownTaskType(
                "The settings of this service do not allow this task name: add it to TASK_STATUS_TASKS."
            )
        found = self._announced(name)
        if found is None and self._allowed is None:
            self._list()
            if not self._listed:
                raise NotReady(_NO_TYPES)
            raise unknown_task_type(name, self._listed)
        return found or TaskType(name)

    def check_queue(self, queue: str) -> None:
        """Check a queue that a client names: the broker would create a Redis key of that name.

        Raises:
            UnknownQueue: no live worker consumes the queue, and the settings do not allow it.
        """
        if queue in self._queues or queue in self._consumed_queues:
            return
        # A new worker may consume it.
        self._read_consumers(max_age=UNKNOWN_SECONDS)
        if queue not in self._consumed_queues:
            raise UnknownQueue

    def is_announced(self, name: str) -> bool:
        """Return whether a worker announces a task type of this name."""
        return is_task_name(name) and self._announced(name) is not None

    def available_types(self) -> AvailableTaskTypes:
        """Return the types that may be submitted, by name; a type allowed only by a prefix must be announced."""
        self._list()
        names = self._listed.keys() | (self._allowed.exact if self._allowed is not None else frozenset())
        available = [
            self._with_workers(self._listed_or_announced(name))
            for name in sorted(names)
            if self._may_be_submitted(name)
        ]
        return AvailableTaskTypes(available, self._is_complete)

    def available_type(self, name: str) -> AvailableTaskType:
        """Return the available type of a name.

        Raises:
            TaskTypeNotFound: no task type of this name may be submitted.
        """
        try:
            return self._with_workers(self.find(name))
        except (UnknownTaskType, NotReady) as error:
            raise TaskTypeNotFound from error

    def _may_be_submitted(self, name: str) -> bool:
        return not name.startswith(_FORBIDDEN) and (self._allowed is None or name in self._allowed)

    def _announced(self, name: str) -> TaskType | None:
        """Return the announced type of a name, which is read alone: all of them may be many."""
        known = self._known.get(name, None)
        if known is None or self._clock() >= known.fresh_until:
            read = self._read(name)
            if read.task_type is None and known is not None and read.fresh_until < known.kept_until:
                read = known._replace(fresh_until=read.fresh_until)
            known = read
            self._known.store(name, known, known.size)
        return known.task_type

    def _read(self, name: str) -> _Known:
        now, stored = self._store.announcement(name)
        found = read_task_type(stored, now=now) if stored else None
        read_at = self._clock()
        # The name in the announcement determines what a worker executes.
        if not stored or found is None or found.name != name:
            return _Known(None, 0, read_at + UNKNOWN_SECONDS, read_at)
        return _Known(found, len(stored), read_at + FRESH_SECONDS, read_at + KEPT_SECONDS)

    def _listed_or_announced(self, name: str) -> TaskType:
        found = self._listed.get(name)
        if found is None and not self._is_complete:
            found = self._announced(name)
        return found or TaskType(name)

    def _list(self) -> None:
        if self._clock() >= self._listed_until:
            now, stored, is_complete = self._store.announcements()
            announced = (read_task_type(one, now=now) for one in stored)
            listed = {one.name: one for one in announced if one is not None}
            read_at = self._clock()
            if listed or read_at >= self._listed_kept_until:
                self._listed, self._is_complete = listed, is_complete
                self._listed_kept_until = read_at + KEPT_SECONDS
            self._listed_until = read_at + FRESH_SECONDS

    def _with_workers(self, task_type: TaskType) -> AvailableTaskType:
        self._read_consumers(max_age=FRESH_SECONDS)
        workers = sum(task_type.queue in queues for queues in self._consumers.get(task_type.name, ()))
        return AvailableTaskType(task_type, workers)

    def _read_consumers(self, *, max_age: float) -> None:
        if self._clock() < self._consumers_read_at + max_age:
            return
        by_name: dict[str, list[frozenset[str]]] = {}
        consumed: set[str] = set()
        entries = self._store.consumers()
        self._consumers_read_at = self._clock()
        if entries is None and self._consumers_read_at < self._consumers_kept_until:
            return
        for stored in entries or ():
            consumer = read_consumer(stored)
            if consumer is not None:
                queues = frozenset(consumer.queues)
                consumed.update(filter(is_queue_name, queues))
                for name in set(consumer.task_types):
                    by_name.setdefault(name, []).append(queues)
        self._consumers, self._consumed_queues = by_name, frozenset(consumed)
        if entries is not None:
            self._consumers_kept_until = self._consumers_read_at + KEPT_SECONDS
