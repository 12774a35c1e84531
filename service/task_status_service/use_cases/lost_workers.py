"""Mark tasks as failed if their worker is lost for longer than a setting allows."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from task_status_worker.record.codec import unpack
from task_status_worker.record.model import Fact, Note, Record, RecordedFailure

from task_status_service.errors import Unavailable
from task_status_service.status import INLINE, UNSEEN, Budget, FinalStates, Snapshot, decode

#: `failure.type` of a task that is marked as failed; no exception was raised
FAILURE_TYPE: Final = "WorkerLost"
#: pause after a failed write, so that a read of many tasks does not wait for each of them
_PAUSE_SECONDS: Final = 1.0


class LostTaskStore(Protocol):
    """A store that marks tasks as failed. Raises `StoreUnavailable`."""

    def read(self, task_id: str) -> Snapshot:
        """Read everything stored about one task."""
        ...

    def mark_failed(self, note: Note, found: Snapshot, *, lost_after_seconds: float) -> bool:
        """Write a note in one round trip, unless the task has changed since the snapshot; return False if it has."""
        ...


class LostTasks:
    """A marker of lost tasks. The failure is recorded before any response shows it, so that later facts are late."""

    def __init__(
        self,
        store: LostTaskStore,
        *,
        after_seconds: float | None,
        final_states: FinalStates,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Create the marker.

        Args:
            store: writes the failure.
            after_seconds: time since the last heartbeat after which a task is marked as failed; None disables it.
            final_states: custom Celery states that end a task.
            clock: seconds of a monotonic clock.
        """
        self._store = store
        self._after_seconds = after_seconds
        self._final_states = final_states
        self._clock = clock
        self._resumes_at = 0.0

    def mark_failed(self, found: Snapshot) -> Snapshot:
        """Mark a task as failed if its worker is lost; return its snapshot, read again if it was marked."""
        # On first detection the value is at most `LOST_SECONDS`, the minimum of the setting, so nothing is marked.
        if self._after_seconds is None or (found.seconds_since_heartbeat or 0.0) <= self._after_seconds:
            return found
        record = unpack(found.record)
        if record is None or self._clock() < self._resumes_at or self._is_done(found):
            return found
        try:
            self._store.mark_failed(self._failed(found, record), found, lost_after_seconds=self._after_seconds)
            return self._store.read(found.task_id)
        except Unavailable:
            self._resumes_at = self._clock() + _PAUSE_SECONDS
            return found

    def _is_done(self, found: Snapshot) -> bool:
        """Return whether the task is done; a large value is read as a whole only if its beginning does not tell."""
        statuses = (decode(found, final_states=self._final_states, budget=Budget(each)) for each in (UNSEEN, INLINE))
        return any(status is None or status.done for status in statuses)

    def _failed(self, found: Snapshot, record: Record) -> Note:
        message = f"The worker has sent no heartbeat for {self._after_seconds:.0f} seconds."
        return Note(
            task_id=found.task_id,
            fact=Fact.FINISHED,
            generation=record.generation,
            attempt=record.attempt,
            outcome="FAILURE",
            failure=RecordedFailure(type=FAILURE_TYPE, message=message),
        )
