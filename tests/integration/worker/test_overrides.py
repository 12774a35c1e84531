"""Apps that override methods of Celery run the same with and without the kit."""

from typing import Any

import pytest
from celery import Task
from celery.worker.request import Request
from support.servers import wait_until

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS

#: the calls of overridden methods, in order
_calls: list[str] = []


class OwnTask(Task):
    """A task class whose methods have other signatures than Celery's."""

    __slots__ = ("own",)

    def update_state(self, state: str | None = None, meta: Any = None) -> None:  # type: ignore[override]
        _calls.append("update_state")
        super().update_state(state=state, meta=meta)

    def retry(self, exc: BaseException | None = None, countdown: float = 0) -> Any:  # type: ignore[override]
        _calls.append("retry")
        return super().retry(exc=exc, countdown=countdown, max_retries=1)

    def before_start(self, *about: Any) -> None:
        _calls.append("before_start")

    def on_success(self, *about: Any) -> None:
        _calls.append("on_success")

    def on_failure(self, *about: Any) -> None:
        _calls.append("on_failure")

    def after_return(self, *about: Any) -> None:
        _calls.append("after_return")

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        _calls.append("apply_async")
        return super().apply_async(args, kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        _calls.append("__call__")
        return super().__call__(*args, **kwargs)


class OwnRequest(Request):
    """A request class with a method of another signature."""

    def on_success(self, failed__retval__runtime: Any, **more: Any) -> Any:
        _calls.append("request.on_success")
        return super().on_success(failed__retval__runtime, **more)


def _reports(self: Any) -> str:
    self.update_state("STEP", {"n": 1})
    self.update_state(state="STEP", meta={"n": 2})
    return "reported"


def _retries_by_position(self: Any) -> str:
    if not self.request.retries:
        raise self.retry(ValueError("again"), 0)
    return "retried"


def _retries_by_name(self: Any) -> None:
    self.retry(countdown=0, exc=ValueError("gives up"))


def _fails(self: Any) -> None:
    raise ValueError(f"{self.name} is wrong")


@pytest.mark.parametrize("installs", ["before the tasks", "after the tasks"])
def test_overridden_methods(bench: Bench, redis_url: str, installs: str) -> None:
    """The kit changes neither the outcomes nor the calls of the app's own methods."""
    plain = Bench(redis_url, bench.client)
    without_kit = _outcomes(plain, installs=None)
    plain.close()
    assert _outcomes(bench, installs=installs) == without_kit


def _outcomes(bench: Bench, *, installs: str | None) -> list[tuple[Any, Any, list[str]]]:
    """Run each task to its end; return Celery's state and result, and the calls of overridden methods."""
    if installs == "before the tasks":
        bench.install()
    options = {"base": OwnTask, "bind": True, "shared": False, "Request": OwnRequest}
    tasks = [bench.app.task(run, **options) for run in (_reports, _retries_by_position, _retries_by_name, _fails)]
    if installs == "after the tasks":
        bench.app.finalize()
        bench.install()
    with bench.working():
        return [_outcome(bench, task) for task in tasks]


def _outcome(bench: Bench, task: Any) -> tuple[Any, Any, list[str]]:
    _calls.clear()
    task_id = task.apply_async().id

    def ended() -> Any:
        meta = bench.meta(task_id)
        return meta if meta and meta["status"] in {"SUCCESS", "FAILURE"} and _calls[-1] == "after_return" else None

    meta = wait_until(ended, what="the end of the task")
    return meta["status"], meta["result"], list(_calls)
