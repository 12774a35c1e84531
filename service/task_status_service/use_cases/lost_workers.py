"""Lost is final, where a setting says so: a task whose worker is lost for long is noted as failed, then told so."""

import time
from collections.abc import Callable
from typing import Final, Protocol

from task_status_worker.record.codec import unpack
from task_status_worker.record.model import Fact, Note, Record, RecordedFailure

from task_status_service.errors import Unavailable
from task_status_service.status import FinalStates, Snapshot, decode

#: what the failure of a task is called that was settled; no exception was raised
FAILURE_TYPE: Final = "WorkerLost"
#: after a note that the store did not take, none is tried for so long: reading must not wait for each of many
_PAUSE_SECONDS: Final = 1.0


class SettlingStore(Protocol):
    """What is asked of a store. Raises `StoreUnavailable`."""

    def read(self, task_id: str) -> Snapshot:
        """Read all that is stored about one task."""
        ...

    def settle(self, note: Note, found: Snapshot, *, silent_seconds: float) -> bool:
        """Write a note, unless something has happened since the task was found; false if so."""
        ...


class LostTasks:
    """Settle what is found lost: its end is noted before it is told, so that what its worker still writes is late."""

    def __init__(
        self,
        store: SettlingStore,
        *,
        after_seconds: float | None,
        final_states: FinalStates,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the silence from which on a lost task has failed; None: never."""
        self._store = store
        self._after_seconds = after_seconds
        self._final_states = final_states
        self._clock = clock
        self._resumes_at = 0.0

    def mark_failed(self, found: Snapshot) -> Snapshot:
        """Give what is stored of a task after it was settled; as it was found if it is not lost, or cannot be now."""
        # Of an instance that is found lost for the first time the pulse says no more than the least that may be set.
        if self._after_seconds is None or (found.silence_seconds or 0.0) <= self._after_seconds:
            return found
        status = decode(found, final_states=self._final_states)
        record = unpack(found.record)
        if status is None or status.done or record is None or self._clock() < self._resumes_at:
            return found
        try:
            self._store.settle(self._end_of(found, record), found, silent_seconds=self._after_seconds)
            return self._store.read(found.task_id)
        except Unavailable:
            self._resumes_at = self._clock() + _PAUSE_SECONDS
            return found

    def _end_of(self, found: Snapshot, record: Record) -> Note:
        message = f"Nothing was heard of its worker for {self._after_seconds:.0f} seconds."
        return Note(
            task_id=found.task_id,
            fact=Fact.FINISHED,
            generation=record.generation,
            attempt=record.attempt,
            outcome="FAILURE",
            failure=RecordedFailure(type=FAILURE_TYPE, message=message),
        )
