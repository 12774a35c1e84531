"""The Request class of the kit, in the worker's main process."""

from typing import Any


class StatusRequest:
    """Come before the request class that a task names."""

    __slots__ = ()

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Let the receivers of task_failure see the request, as they do for every other failure.

        Celery sends the signal for a hard time limit without it (celery/worker/request.py, on_timeout, compare
        on_failure), so that nobody could say which attempt was killed.
        """
        request: Any = self
        request.task.request_stack.push(request._context)  # noqa: SLF001  # as on_failure does
        try:
            super().on_timeout(soft, timeout)  # type: ignore[misc]  # Celery's, below this one
        finally:
            request.task.request_stack.pop()
