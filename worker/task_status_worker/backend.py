"""The result backend made safe: what is stored can be read, and what cannot be read no longer stops a store."""

import logging
from typing import Any

from celery import states
from celery.backends.base import BaseKeyValueStoreBackend

from task_status_worker.exception_meta import readable_meta
from task_status_worker.execution import run_of
from task_status_worker.failure import TaskFailed
from task_status_worker.redis_client import takes_no_writes
from task_status_worker.registry import kit_of

logger = logging.getLogger(__name__)


class UnreadableResult(ValueError):
    """A stored value cannot be decoded."""


class GuardedBackend:
    """Mix into a Celery result backend."""

    app: Any

    def store_result(self, task_id: str, result: Any, state: str, *args: Any, **options: Any) -> Any:
        """Store, but not that a run starts which may not: it would stand over how the task really ended.

        Celery stores STARTED before the task could object (celery/app/trace.py, build_tracer).
        """
        run = run_of(options.get("request"))
        if state == states.STARTED and run is not None and run.denial is not None:
            return result
        return super().store_result(task_id, result, state, *args, **options)  # type: ignore[misc]  # the backend's

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **options: Any) -> None:
        """Store that a task is revoked, but not of one that runs or has run, for whoever does not know.

        Celery's command `revoke` comes to every worker, without a request, and takes what has no stored state for a
        task that waits (celery/worker/control.py, _revoke): with `ignore_result` also one that another worker runs.
        """
        kit = kit_of(self.app)
        flags = kit.recorder.flags([task_id]) if request is None and kit is not None else None
        if flags and (flags[0].running or flags[0].final):
            return
        super().mark_as_revoked(task_id, reason, request, **options)  # type: ignore[misc]  # the backend's

    def encode_result(self, result: Any, state: str) -> Any:
        """Complete what Celery could not read back, and store what `fail` was given beside its message."""
        encoded = super().encode_result(readable_meta(result, state), state)  # type: ignore[misc]  # the backend's
        if isinstance(result, TaskFailed) and isinstance(encoded, dict):
            # Celery keeps type, arguments and module of an exception, and nothing else.
            encoded = {**encoded, **result.stored_fields()}
        return encoded


class GuardedKeyValueBackend(GuardedBackend):
    """Mix into a backend that reads the stored value before it writes, such as Redis."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Say whether it is worth another attempt: also where Redis takes no writes at present.

        To Celery that is an error of the task: it does not run, and its FAILURE cannot be stored either.
        """
        backend: Any = super()
        return takes_no_writes(exc) or bool(backend.exception_safe_to_retry(exc))

    def decode_result(self, payload: Any) -> Any:
        """Read a stored value; one that cannot be read must not look like a Redis that is away.

        To Celery a KeyError and an OSError are connection errors of Redis (kombu/transport/redis.py,
        get_redis_error_classes), which a value without `status` and one with a broken bz2 body raise as well. With
        `result_backend_always_retry` each read of it would go on for half an hour, in the main process too.
        """
        backend: Any = super()
        try:
            return backend.decode_result(payload)
        except Exception as error:
            if self._is_passing(error):
                raise UnreadableResult(f"{type(error).__name__}: {error}") from error
            raise

    def _store_result(self, task_id: str, *args: Any, **kwargs: Any) -> Any:
        """Store, and replace a value that cannot be read instead of losing the outcome.

        Celery decodes the old value to see whether it is SUCCESS (KeyValueStoreBackend._store_result, celery#6090), so
        a value that does not decode, whoever wrote it, makes every later store of the task fail.
        """
        backend: Any = super()
        try:
            return backend._store_result(task_id, *args, **kwargs)  # noqa: SLF001  # the very method
        except Exception as error:
            if self._is_passing(error) or self._can_be_read(task_id):
                raise
            logger.warning("Replacing the unreadable result of task %s: %r", task_id, error)
            backend.delete(backend.get_key_for_task(task_id))
            return backend._store_result(task_id, *args, **kwargs)  # noqa: SLF001  # the very method

    def _can_be_read(self, task_id: str) -> bool:
        backend: Any = super()
        try:
            backend._get_task_meta_for(task_id)  # noqa: SLF001  # what _store_result reads with
        except Exception as error:  # noqa: BLE001  # Celery's readers have no common exception
            return self._is_passing(error)
        return True

    def _is_passing(self, error: Exception) -> bool:
        """Say whether the store failed, and not the stored value."""
        return self.exception_safe_to_retry(error)


def guard_backend(backend: Any) -> Any:
    """Make one result backend safe, in place; a second time changes nothing."""
    cls = type(backend)
    if not issubclass(cls, GuardedBackend):
        guard = GuardedKeyValueBackend if issubclass(cls, BaseKeyValueStoreBackend) else GuardedBackend
        # Its own class stays below, so that what the user's backend overrides keeps working.
        backend.__class__ = type(cls.__name__, (guard, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return backend
