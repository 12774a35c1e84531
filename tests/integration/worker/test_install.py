"""`install` on apps of every kind, called at any time."""

import uuid
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import ImproperlyConfigured
from celery.worker.request import Request
from task_status_worker import install
from task_status_worker.installation import SETTINGS
from task_status_worker.record.keys import Keys
from task_status_worker.record.model import Fact
from task_status_worker.registry import kit_of
from task_status_worker.request import StatusRequest
from task_status_worker.task import StatusTask

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS


class UserTask(Task):
    """A task class of a project."""

    retries_seen = 0

    def on_success(self, *_: Any, **__: Any) -> None:
        type(self).retries_seen += 1

    def greet(self) -> str:
        return f"hello from {self.name}"


class UserRequest(Request):
    """A request class of a project."""


def test_settings_are_made_in_workers_only(bench: Bench) -> None:
    """A worker makes all settings, again when the app reloads its configuration; other processes make none."""
    bench.install()
    assert not [name for name in SETTINGS if bench.app.conf.value_set_for(name)]
    assert bench.app.backend.always_retry is False

    with bench.working():
        assert {name: bench.app.conf[name] for name in SETTINGS} == dict(SETTINGS)
        assert bench.app.backend.always_retry is True
        bench.app.config_from_object({"task_default_queue": "other"})
        assert bench.app.conf.task_default_queue == "other"
        assert {name: bench.app.conf[name] for name in SETTINGS} == dict(SETTINGS)


def test_the_users_own_settings_stand(bench: Bench) -> None:
    """Settings of the user stay, also those that equal Celery's defaults."""
    mine = {"task_track_started": False, "result_backend_always_retry": False, "redis_socket_timeout": 120.0}
    bench.app.conf.update(mine)

    @bench.app.task(shared=False)
    def task() -> None: ...

    bench.install()
    with bench.working():
        assert {name: bench.app.conf[name] for name in mine} == mine
        assert bench.app.conf.result_backend_thread_safe is True
        assert task.track_started is False


def test_tasks_that_exist_keep_their_own(bench: Bench) -> None:
    """The kit's class comes before the user's in place: same object, same name, all methods."""

    @bench.app.task(base=UserTask, shared=False, bind=True)
    def bound(self: Any, x: int) -> int:
        """Do it."""
        return x + self.request.retries

    class ByClass(UserTask):
        """A task of the old kind."""

        name = "by-class"

        def run(self) -> str:
            return self.greet()

    by_class = bench.app.register_task(ByClass())
    bench.app.finalize()
    real = bench.app.tasks[bound.name]
    bench.install()

    for task in (real, by_class):
        assert isinstance(task, StatusTask)
        assert isinstance(task, UserTask)
        assert task.app is bench.app
    assert bench.app.tasks[bound.name] is real
    assert (type(real).__name__, real.__doc__, real(3)) == ("bound", "Do it.", 3)
    assert by_class() == "hello from by-class"
    with bench.working():
        assert real.track_started is True
        task_id, record = bench.run(real, 7)
    assert (record.outcome, bench.meta(task_id)["result"], type(real).retries_seen) == ("SUCCESS", 7, 1)


def test_tasks_that_come_later(bench: Bench) -> None:
    """Tasks that are registered after `install` have the kit, before and after the app is finalized."""
    bench.install()

    @bench.app.task(base=UserTask, shared=False)
    def early() -> str:
        return "early"

    bench.app.finalize()

    @bench.app.task(shared=False)
    def late() -> str:
        return "late"

    @bench.app.task(base=UserTask, shared=False, Request=UserRequest)
    def later() -> str:
        return "later"

    with bench.working():
        for task in (early, late, later):
            task_id, record = bench.run(task)
            assert (record.outcome, bench.meta(task_id)["result"]) == ("SUCCESS", task())
        assert all(isinstance(bench.app.tasks[task.name], StatusTask) for task in (early, late, later))
        assert issubclass(later.Request, StatusRequest)
        assert issubclass(later.Request, UserRequest)


def test_a_second_call_changes_nothing(bench: Bench) -> None:
    """A second call adds no second kit, and each fact is noted once."""
    bench.install()
    kit = kit_of(bench.app)
    bench.install()
    assert kit_of(bench.app) is kit

    @bench.app.task(shared=False)
    def task() -> None: ...

    with bench.working():
        _, record = bench.run(task)
    assert (record.seq, record.executions) == (3, 1)


def test_an_app_without_the_kit_is_left_alone(bench: Bench, redis_url: str) -> None:
    """An app without the kit is unchanged, beside one with the kit in the same process."""
    bench.install()
    plain = Bench(redis_url, bench.client)

    @plain.app.task(shared=False)
    def task() -> int:
        return 1

    with plain.working():
        task_id = task.delay().id
        assert task.AsyncResult(task_id).get(timeout=20, disable_sync_subtasks=False) == 1
    assert plain.record(task_id) is None
    assert not isinstance(plain.app.tasks[task.name], StatusTask)
    plain.close()


def test_ids_that_are_no_text(bench: Bench) -> None:
    """A UUID as the id of a task is recorded as its text, which is the name of Celery's key too."""
    bench.install()

    @bench.app.task(shared=False)
    def task() -> int:
        return 1

    task_id = uuid.uuid4()
    with bench.working():
        task.apply_async(task_id=task_id)
        record = bench.wait(str(task_id))
    assert (record.outcome, record.is_root) == ("SUCCESS", True)


def test_keys_stand_under_the_users_prefix(bench: Bench) -> None:
    """The prefix is joined as Celery joins it, so that the service finds records beside Celery's metas."""
    bench.app.conf.result_backend_transport_options = {"global_keyprefix": "shop"}
    bench.keys = Keys.under("shop")
    bench.install()

    @bench.app.task(shared=False)
    def task() -> int:
        return 1

    with bench.working():
        task_id, record = bench.run(task)
    assert record.fact is Fact.FINISHED
    assert bench.client.exists(f"shop_task-status:record:{task_id}", f"shop_celery-task-meta-{task_id}") == 2


def test_where_records_go(redis_url: str) -> None:
    """Records go to the Redis of the argument, result backend or broker, in this order; else `install` raises."""
    with_broker = Celery(broker=redis_url, backend="rpc://", set_as_current=False)
    install(with_broker)
    assert kit_of(with_broker) is not None

    given = Celery(broker="memory://", set_as_current=False)
    install(given, record_url=redis_url)
    assert kit_of(given) is not None

    nowhere = Celery(broker="memory://", backend="rpc://", set_as_current=False)
    with pytest.raises(ImproperlyConfigured, match="record_url"):
        install(nowhere)
    with pytest.raises(ValueError, match="not a Redis URL"):
        install(nowhere, record_url="amqp://")
    assert kit_of(nowhere) is None


def test_the_kit_goes_with_its_app(redis_url: str) -> None:
    """A kit is deleted with its app."""
    app: Any = Celery(broker=redis_url, set_as_current=False)
    install(app)
    assert kit_of(app) is not None
    assert kit_of(Celery(set_as_current=False)) is None
