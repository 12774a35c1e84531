"""Send again what the broker has lost: accepted tasks that no worker has, although their queue is empty.

Redis as a broker loses a message now and then. kombu takes it out of its queue (BRPOP) before it writes down who has it
(kombu/transport/redis.py, Channel._brpop_read and QoS.append); if Redis, the connection or the worker dies in between,
nobody has it, and nothing in Celery finds out (celery#4354, celery#7950).

Rule 1: it is lost if no worker has received it some time after it was sent, or was to be tried again, and nothing is in
its queue.
Rule 2: it is sent again under its id, as it was. If it was not lost after all, the worker kit runs an id once; so only
types are sent again that workers with the kit announce.
Rule 3: every process looks, a little at a time. Whoever is first to mark a task sends it, and until the mark expires
nobody else does.
"""

import contextlib
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
from task_status_service.use_cases.submission import Call, Submission
from task_status_service.use_cases.tracker import Tracker

log = logging.getLogger(__name__)

#: at most so long between two looks
MAX_PAUSE_SECONDS: Final = 5.0

#: states of the index that a task without a worker may be in
_STATES: Final = (TaskState.QUEUED, TaskState.RETRYING)


class Unreceived(msgspec.Struct, frozen=True):
    """A task that no worker has received."""

    task_id: str
    queue: str
    #: how often it was tried before
    retries: int


class Store(Protocol):
    """Keeps submissions. Raises `StoreUnavailable`, and for writes `StoreFull`."""

    def unreceived(self, state: TaskState, *, start: int, after_seconds: float) -> tuple[int, list[Unreceived]]:
        """Look at some tasks of a state; give where to go on, and those that no worker has received for so long."""
        ...

    def mark_resent(self, task_id: str, *, seconds: float) -> bool:
        """Mark a task for so long, in one round trip; false if it is marked already."""
        ...

    def call(self, task_id: str) -> Call | None:
        """Read what a worker was asked to run."""
        ...


class Broker(Protocol):
    """Sends messages to the workers. Raises `BrokerUnavailable`."""

    def send(self, task_id: str, submission: Submission, *, queue: str, retries: int = 0) -> None:
        """Send one task, once."""
        ...

    def waiting(self, queue: str) -> int:
        """Count the messages of a queue that no worker has taken."""
        ...


class Resender:
    """Look for lost messages, one part of the index after the other."""

    def __init__(
        self, tracker: Tracker, store: Store, broker: Broker, catalog: Catalog, *, after_seconds: float
    ) -> None:
        """Take the parts, and after how long a task that no worker has received is looked into."""
        self._tracker = tracker
        self._store = store
        self._broker = broker
        self._catalog = catalog
        self._after_seconds = after_seconds
        self._starts = dict.fromkeys(_STATES, 0)

    def run(self, is_over: Callable[[], bool]) -> None:
        """Look again and again, until there is no more time."""
        while not is_over():
            time.sleep(min(MAX_PAUSE_SECONDS, self._after_seconds / 2))
            with contextlib.suppress(Unavailable):
                for task_id in self.resend():
                    log.warning("No worker has received task %s, and its queue is empty: sent again", task_id)

    def resend(self) -> list[str]:
        """Look at the next part; give the ids of what was sent again.

        Raises:
            Unavailable: the store or the broker is away; there will be another time.
        """
        # Asked once for each: a long queue has many tasks that no worker has received yet.
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
        # Celery's meta may know better than the record: a worker without the kit notes nothing.
        if call is None or status is None or status.state not in _STATES or not self._catalog.is_announced(call.name):
            return False
        # Twice the time, so that whoever receives it now has as long to say so.
        if not self._store.mark_resent(one.task_id, seconds=2 * self._after_seconds):
            return False
        self._broker.send(one.task_id, _submission(call, status), queue=one.queue, retries=one.retries)
        return True

    def _status(self, task_id: str) -> TaskStatus | None:
        try:
            # An internal read: no ownership check.
            return self._tracker.status(task_id, ANYBODY).status
        except TaskNotFound:
            return None


def _submission(call: Call, status: TaskStatus) -> Submission:
    return Submission(
        name=call.name,
        args=call.args,
        kwargs=call.kwargs,
        priority=call.priority,
        # Not its time: that has come.
        expires_at=status.expires_at,
    )
