"""Resending: accepted tasks that no worker has received although their queue is empty are sent again.

Redis as a broker can lose a message. kombu removes it from its queue (BRPOP) before it stores it as unacknowledged
(kombu/transport/redis.py, Channel._brpop_read and QoS.append). If Redis, the connection or the worker dies in between,
the message is lost, and Celery does not detect it (celery#4354, celery#7950).

Rule 1: a message is lost if no worker has received the task `after_seconds` after it was sent, or was due for its
retry, and its queue is empty.
Rule 2: the message is sent again unchanged, under the same id. If it was not lost, the worker kit discards the
duplicate delivery; so only task types that workers with the kit announce are sent again.
Rule 3: every process checks one part of the index at a time. The first process that marks a task sends it; until the
mark expires, no other process does.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, Protocol

import msgspec

from task_status_service.access.caller import ANYBODY
from task_status_service.errors import TaskNotFound, Unavailable
from task_status_service.status import TaskState, TaskStatus
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submission import CallStore, MessageBroker, Submission
from task_status_service.use_cases.tracker import Tracker

log = logging.getLogger(__name__)

#: longest pause between two checks
MAX_PAUSE_SECONDS: Final = 5.0

#: indexed states of tasks that no worker has received
_STATES: Final = (TaskState.QUEUED, TaskState.RETRYING)


class Unreceived(msgspec.Struct, frozen=True):
    """A task that no worker has received."""

    task_id: str
    queue: str
    #: number of earlier attempts
    retries: int


class UnreceivedStore(CallStore, Protocol):
    """A store that lists unreceived tasks. Raises `StoreUnavailable`, and for writes `StoreFull`."""

    def unreceived(self, state: TaskState, *, start: int, after_seconds: float) -> tuple[int, list[Unreceived]]:
        """Check a part of the tasks of one state.

        Returns:
            The start of the next part, and the tasks that no worker has received for `after_seconds`.
        """
        ...

    def mark_resent(self, task_id: str, *, seconds: float) -> bool:
        """Mark a task for some seconds, in one round trip; return False if it is marked already."""
        ...


class QueueBroker(MessageBroker, Protocol):
    """A broker that knows the length of its queues. Raises `BrokerUnavailable`."""

    def waiting(self, queue: str) -> int:
        """Return the number of messages in a queue that no worker has taken."""
        ...


class Resender:
    """A resender of lost messages, which checks one part of the index at a time."""

    def __init__(
        self,
        tracker: Tracker,
        store: UnreceivedStore,
        broker: QueueBroker,
        catalog: Catalog,
        *,
        after_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Create a resender of tasks that no worker has received for `after_seconds`."""
        self._tracker = tracker
        self._store = store
        self._broker = broker
        self._catalog = catalog
        self._after_seconds = after_seconds
        self._sleep = sleep
        self._starts = dict.fromkeys(_STATES, 0)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Check repeatedly until `is_over`; no exception ends the loop."""
        while not is_over():
            self._sleep(min(MAX_PAUSE_SECONDS, self._after_seconds / 2))
            try:
                for task_id in self.resend():
                    log.warning("No worker has received task %s, and its queue is empty: sent again", task_id)
            except Unavailable as error:
                log.debug("Lost messages were not checked: %s", error)
            except Exception:
                # Without this handler, a defect would end resending until the process restarts.
                log.exception("The check for lost messages failed; the next one follows")

    def resend(self) -> list[str]:
        """Check the next part of the index; return the ids of the tasks that were sent again.

        Raises:
            Unavailable: the store or the broker does not answer.
        """
        # Each queue is checked once: a long queue has many tasks that no worker has received yet.
        waiting = cache(self._broker.waiting)
        return [one.task_id for one in self._unreceived() if not waiting(one.queue) and self._resend(one)]

    def _unreceived(self) -> Iterator[Unreceived]:
        for state in _STATES:
            self._starts[state], found = self._store.unreceived(
                state, start=self._starts[state], after_seconds=self._after_seconds
            )
            yield from found

    def _resend(self, one: Unreceived) -> bool:
        call = self._store.call(one.task_id)
        status = self._status(one.task_id)
        # Celery's meta may be newer than the record: a worker without the kit writes no record.
        if call is None or status is None or status.state not in _STATES or not self._catalog.is_announced(call.name):
            return False
        # Twice the time, so that a worker that receives the task now has `after_seconds` to record that.
        if not self._store.mark_resent(one.task_id, seconds=2 * self._after_seconds):
            return False
        # Without `scheduled_for`: that time has passed.
        submission = Submission(call=call, expires_at=status.expires_at)
        self._broker.send(one.task_id, submission, queue=one.queue, retries=one.retries)
        return True

    def _status(self, task_id: str) -> TaskStatus | None:
        try:
            # An internal read: no ownership check.
            return self._tracker.status(task_id, ANYBODY).status
        except TaskNotFound:
            return None
