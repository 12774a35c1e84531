"""A safe result backend: every stored value can be read, and an unreadable one no longer blocks later stores."""

import logging
from typing import Any

from celery import states
from celery.backends.base import BaseKeyValueStoreBackend

from task_status_worker.exception_meta import readable_meta
from task_status_worker.execution import execution_of
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
        """Store a result, except STARTED for a denied start, which would overwrite the end of the task.

        Celery stores STARTED before any code of the task runs (celery/app/trace.py, build_tracer). Every other state
        is kept for the last note of the execution. Here and not in `update_state`, which an app may override with
        another signature.
        """
        execution = execution_of(options.get("request"))
        if state == states.STARTED and execution is not None and execution.denial is not None:
            return result
        stored = super().store_result(task_id, result, state, *args, **options)  # type: ignore[misc]  # the backend's
        if execution is not None and task_id == execution.task_id and state != states.STARTED:
            execution.remember_stored(state, result)
        return stored

    def mark_as_revoked(self, task_id: str, reason: str = "", request: Any = None, **options: Any) -> None:
        """Store that a task is revoked, unless its record says that it is running or has ended.

        Celery sends `revoke` to every worker, without a request. Each worker takes a task without a stored state for a
        waiting one (celery/worker/control.py, _revoke), also one with `ignore_result` that another worker executes.
        """
        kit = kit_of(self.app)
        flags = kit.recorder.flags([task_id]) if request is None and kit is not None else None
        if flags and (flags[0].running or flags[0].final):
            return
        super().mark_as_revoked(task_id, reason, request, **options)  # type: ignore[misc]  # the backend's

    def encode_result(self, result: Any, state: str) -> Any:
        """Complete a meta that Celery could not read back, and add the code and details of `fail`."""
        encoded = super().encode_result(readable_meta(result, state), state)  # type: ignore[misc]  # the backend's
        if isinstance(result, TaskFailed) and isinstance(encoded, dict):
            # Celery stores only type, arguments and module of an exception.
            encoded = {**encoded, **result.stored_fields()}
        return encoded


class GuardedKeyValueBackend(GuardedBackend):
    """Mix into a backend that reads the stored value before it writes, such as Redis."""

    def exception_safe_to_retry(self, exc: Exception) -> bool:
        """Return whether to retry an error, which includes a Redis that rejects writes at present.

        Celery treats that as an error of the task: the task does not run, and its FAILURE cannot be stored either.
        Celery 5.4 retries no error of Redis at all.
        """
        backend: Any = super()
        is_away = isinstance(exc, getattr(self, "connection_errors", ()))
        return is_away or takes_no_writes(exc) or bool(backend.exception_safe_to_retry(exc))

    def decode_result(self, payload: Any) -> Any:
        """Decode a stored value; raise `UnreadableResult` where Celery would see a connection error.

        Celery treats KeyError and OSError as connection errors of Redis (kombu/transport/redis.py,
        get_redis_error_classes). A value without `status` raises the one, a broken bz2 body the other. With
        `result_backend_always_retry`, Celery would retry each read of it for half an hour, also in the main process.
        """
        backend: Any = super()
        try:
            return backend.decode_result(payload)
        except Exception as error:
            if self._is_passing(error):
                raise UnreadableResult(f"{type(error).__name__}: {error}") from error
            raise

    def _store_result(self, task_id: str, *args: Any, **kwargs: Any) -> Any:
        """Store a result, and replace an unreadable value instead of losing the outcome.

        Celery decodes the old value to check whether it is SUCCESS (KeyValueStoreBackend._store_result, celery#6090).
        An unreadable value therefore makes every later store for the task fail.
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
            backend._get_task_meta_for(task_id)  # noqa: SLF001  # the reader of _store_result
        except Exception as error:  # noqa: BLE001  # Celery's readers have no common exception
            return self._is_passing(error)
        return True

    def _is_passing(self, error: Exception) -> bool:
        """Return whether the store failed, rather than the stored value."""
        return self.exception_safe_to_retry(error)


def guard_backend(backend: Any) -> Any:
    """Make one result backend safe, in place; a second call changes nothing."""
    cls = type(backend)
    if not issubclass(cls, GuardedBackend):
        guard = GuardedKeyValueBackend if issubclass(cls, BaseKeyValueStoreBackend) else GuardedBackend
        # The backend's own class stays below, so that a user's overrides keep working.
        backend.__class__ = type(cls.__name__, (guard, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return backend
