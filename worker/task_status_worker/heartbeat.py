"""The heartbeat of a worker instance, and the announcement of its task types. A thread of its main process."""

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Any, Final

from celery import signals

from task_status_worker.alive import alive_file, touch
from task_status_worker.recorder import Recorder, StatusEvent
from task_status_worker.registry import Kit, kit_of
from task_status_worker.task_types import announcements, consumer
from task_status_worker.termination import store_revoked, terminate_canceled

logger = logging.getLogger(__name__)

#: seconds between two heartbeats
BEAT_SECONDS: Final = 5.0

#: seconds until the next attempt if Redis did not accept a heartbeat
RETRY_SECONDS: Final = 1.0

#: heartbeats between two announcements of the task types: one minute
_BEATS_PER_ANNOUNCEMENT: Final = 12


class Heartbeat:
    """A thread that sends heartbeats, also while a long task blocks the main thread of a solo pool."""

    def __init__(
        self,
        recorder: Recorder,
        instance: str,
        *,
        terminate: Callable[[], None],
        announce: Callable[[], None],
        touch: Callable[[], None],
        beat_seconds: float = BEAT_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._recorder = recorder
        self._instance = instance
        self._terminate = terminate
        self._announce = announce
        self._touch = touch
        self._beat_seconds = beat_seconds
        self._retry_seconds = retry_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="task-status-heartbeat", daemon=True)

    def start(self) -> None:
        """Start the thread; it sends the first heartbeat at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread after its current heartbeat."""
        self._stopped.set()

    def _beat_until_stopped(self) -> None:
        beats = 0
        while True:
            sent = StatusEvent.NO
            # Also while Redis is unreachable: a restart of the worker would not help.
            _attempt(self._touch)
            try:
                # First of all: a duty that fails or takes long must not make a live worker look dead.
                sent = self._recorder.see_worker(self._instance)
                if sent:
                    _attempt(self._terminate)
                    if sent is StatusEvent.NEW or beats % _BEATS_PER_ANNOUNCEMENT == 0:
                        _attempt(self._announce)
                    beats += 1
            except Exception:
                # An error ends this thread otherwise, and its worker would be reported as lost.
                logger.exception("Cannot send the heartbeat of worker instance %s; trying again", self._instance)
            if self._stopped.wait(self._beat_seconds if sent else self._retry_seconds):
                return


def _attempt(duty: Callable[[], None]) -> None:
    try:
        duty()
    except Exception:
        logger.exception("A part of the task-status heartbeat failed; the next heartbeat tries it again")


#: by consumer's app: the heartbeat of the worker that runs in this process
_RUNNING: weakref.WeakKeyDictionary[Any, Heartbeat] = weakref.WeakKeyDictionary()


def on_worker_init(sender: Any, **_: Any) -> None:
    """Name the worker instance; `sender` is the worker, which has not started its pool yet."""
    kit = kit_of(sender.app)
    if kit is not None:
        kit.begin_instance(sender.hostname)


def on_worker_ready(sender: Any, **_: Any) -> None:
    """Start the heartbeat of a worker; `sender` is its consumer. Celery repeats the signal after each reconnect."""
    kit = kit_of(sender.app)
    if kit is None or kit.instance is None or sender.app in _RUNNING:
        return
    heartbeat = Heartbeat(
        kit.recorder,
        kit.instance,
        terminate=lambda: _complete_cancels(sender, kit.recorder),
        announce=lambda: _announce(sender.app, kit),
        touch=lambda: touch(alive_file(sender.hostname)),
    )
    _RUNNING[sender.app] = heartbeat
    heartbeat.start()


def _complete_cancels(consumer: Any, recorder: Recorder) -> None:
    store_revoked(consumer)
    terminate_canceled(consumer, recorder)


def _announce(app: Any, kit: Kit) -> None:
    """Announce the task types, and which of them this worker instance consumes."""
    kit.recorder.announce(lambda now: announcements(app, now=now))
    if kit.instance is not None:
        kit.recorder.announce_consumer(kit.instance, lambda now: consumer(app, now=now))


def on_worker_shutdown(sender: Any, **_: Any) -> None:
    """Stop the heartbeat of a worker."""
    heartbeat = _RUNNING.pop(sender.app, None)
    if heartbeat is not None:
        heartbeat.stop()


def connect() -> None:
    """Connect the receivers; a second call changes nothing."""
    signals.worker_init.connect(on_worker_init, weak=False)
    signals.worker_ready.connect(on_worker_ready, weak=False)
    signals.worker_shutdown.connect(on_worker_shutdown, weak=False)
