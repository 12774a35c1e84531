"""The safe result backend on a real Redis: every value can be read, and no value blocks a store."""

import pickle
import threading
from typing import Any, NamedTuple

import pytest
from celery import Celery
from celery.app.task import Context
from celery.backends.base import BackendStoreError
from celery.worker.control import revoke
from kombu.exceptions import EncodeError
from task_status_worker import TaskFailed, install
from task_status_worker.backend import GuardedBackend, GuardedKeyValueBackend, UnreadableResult
from task_status_worker.record.model import Fact, Note

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS


@pytest.fixture
def backend(bench: Bench) -> Any:
    """Return the backend of an app with the kit."""
    bench.install()
    return bench.app.backend


POISON = {
    "failure without a type": b'{"status": "FAILURE", "result": {"custom": 1}}',
    "revoked with a text": b'{"status": "REVOKED", "result": "gone"}',
    "no exception class": b'{"status": "FAILURE", "result": {"exc_type": "system", "exc_module": "os"}}',
    "no status": b'{"result": 1}',
    "an array": b"[]",
    "a text": b'"x"',
    "garbage": b"\x80\x04garbage",
    "not UTF-8": b"\xff\xfe",
    "cut compression": b"\x00celery-compressed\x00application/x-gzip\x00cut",
    "a cut bz2 body": b"\x00celery-compressed\x00application/x-bz2\x00cut",
    "a pickle": pickle.dumps({"status": "SUCCESS"}),
}


@pytest.mark.parametrize("poison", POISON)
def test_a_poisoned_key_no_longer_loses_the_outcome(backend: Any, bench: Bench, poison: str) -> None:
    """The outcome of a task replaces an unreadable value."""
    bench.client.set(bench.keys.meta("t"), POISON[poison])
    backend.store_result("t", 42, "SUCCESS")
    assert (bench.meta("t")["status"], bench.meta("t")["result"]) == ("SUCCESS", 42)


@pytest.mark.parametrize("poison", ["no status", "a cut bz2 body"])
def test_an_unreadable_value_is_not_an_outage(backend: Any, bench: Bench, poison: str) -> None:
    """An unreadable value raises at once; Celery would take its error for an outage and retry for half an hour."""
    bench.client.set(bench.keys.meta("t"), POISON[poison])
    with pytest.raises(UnreadableResult):
        backend.get_task_meta("t")


@pytest.mark.parametrize("command", [("LPUSH", "x"), ("SADD", "x"), ("HSET", "a", "x")])
def test_a_key_of_another_type_is_replaced(backend: Any, bench: Bench, command: tuple[str, ...]) -> None:
    """A key of another type is replaced; Celery would fail with WRONGTYPE until the key expires."""
    name, *args = command
    bench.client.execute_command(name, bench.keys.meta("t"), *args)
    backend.store_result("t", ValueError("boom"), "FAILURE")
    assert bench.meta("t")["result"]["exc_message"] == ["boom"]


def test_success_stays_final(backend: Any, bench: Bench) -> None:
    """A readable value is handled as Celery does."""
    backend.store_result("t", 42, "SUCCESS")
    backend.store_result("t", ValueError("late"), "FAILURE")
    assert bench.meta("t")["result"] == 42


@pytest.mark.parametrize(
    ("fact", "stores"), [(None, True), (Fact.RECEIVED, True), (Fact.STARTED, False), (Fact.FINISHED, False)]
)
def test_a_revoke_that_comes_to_another_worker(bench: Bench, fact: Fact | None, stores: bool) -> None:
    """A revoke is not stored by another worker for a task that runs or has run, as its record says."""
    bench.install()
    if fact is not None:
        bench.recorder.note(Note(task_id="t", fact=fact))
    panel = Panel(bench.app)
    revoke(panel, "t")
    assert (bench.meta("t") is not None) == stores

    bench.app.backend.mark_as_revoked("t", "terminated", Context({"id": "t"}))
    assert bench.meta("t")["status"] == "REVOKED", "by the worker that has it"


class Panel(NamedTuple):
    """The state of a worker that Celery's remote control uses."""

    app: Celery


def test_a_store_that_fails_by_itself_still_fails(backend: Any, bench: Bench) -> None:
    """An error of the new value is raised, and the old value is not deleted."""
    backend.store_result("t", {"done": 1}, "PROGRESS")
    with pytest.raises(EncodeError):
        backend.store_result("t", object(), "SUCCESS")
    assert bench.meta("t")["status"] == "PROGRESS"


def test_a_redis_that_is_away_is_not_a_poisoned_key(bench: Bench) -> None:
    """With Redis unreachable a store fails as Celery's does, after the configured retries."""
    bench.app.conf.update(result_backend="redis://127.0.0.1:1/0", result_backend_max_retries=0)
    bench.app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    bench.install()
    with pytest.raises(BackendStoreError):
        bench.app.backend.store_result("t", 1, "SUCCESS")


@pytest.mark.parametrize(
    ("refuse", "accept"),
    [
        (("config", "set", "maxmemory", "1"), ("config", "set", "maxmemory", "0")),
        (("replicaof", "127.0.0.1", "1"), ("replicaof", "no", "one")),
        (("config", "set", "min-replicas-to-write", "1"), ("config", "set", "min-replicas-to-write", "0")),
    ],
    ids=["full", "read-only", "alone"],
)
def test_a_store_waits_while_redis_rejects_writes(
    backend: Any, bench: Bench, refuse: tuple[str, ...], accept: tuple[str, ...]
) -> None:
    """A result waits until Redis accepts writes again; Celery alone would treat that as an error of the task."""
    backend.store_result("t", {"done": 1}, "PROGRESS")
    bench.client.execute_command(*refuse)
    storing = threading.Thread(target=backend.store_result, args=("t", 42, "SUCCESS"))
    try:
        storing.start()
        # Long enough to be refused; without a word it would have ended.
        storing.join(0.2)
        assert storing.is_alive()
    finally:
        bench.client.execute_command(*accept)
    storing.join(10)
    assert (bench.meta("t")["status"], bench.meta("t")["result"]) == ("SUCCESS", 42)


def test_every_writer_is_guarded(backend: Any, bench: Bench) -> None:
    """Every writer stores readable metas, not only `update_state`."""
    backend.store_result("t", {"custom": "disk full"}, "FAILURE")
    assert bench.meta("t")["result"] == {
        "custom": "disk full",
        "exc_type": "TaskFailed",
        "exc_message": ["disk full"],
        "exc_module": "task_status_worker.failure",
    }
    assert isinstance(bench.app.AsyncResult("t").result, TaskFailed)
    assert bench.app.AsyncResult("t").state == "FAILURE"


def test_stores_the_fields_of_fail(backend: Any, bench: Bench) -> None:
    """The stored meta has the code, the details and the type of `fail` beside Celery's own keys."""
    backend.store_result("t", TaskFailed("no", code="c", details={"a": 1}), "FAILURE")
    assert bench.meta("t")["result"] == {
        "exc_type": "TaskFailed",
        "exc_message": ["no"],
        "exc_module": "task_status_worker.failure",
        "code": "c",
        "details": {"a": 1},
    }
    backend.store_result("t", TaskFailed("no", exc_type="NoStock"), "FAILURE")
    assert type(bench.app.AsyncResult("t").result).__name__ == "NoStock"


def test_one_backend_that_exists_and_those_to_come(bench: Bench) -> None:
    """The present backend is safe, and so is each later one if an app has one per thread."""
    bench.app.conf.result_backend_thread_safe = False
    before = bench.app.backend
    bench.install()
    assert isinstance(before, GuardedKeyValueBackend)
    assert bench.app.backend is before
    assert type(before).__name__ == "RedisBackend"
    assert isinstance(bench.app._get_backend(), GuardedKeyValueBackend)  # noqa: SLF001  # as a new thread would


def test_a_task_with_a_backend_of_its_own(bench: Bench) -> None:
    """The backend of a single task is made safe too."""
    own = Celery(backend=bench.app.conf.result_backend, set_as_current=False).backend

    @bench.app.task(backend=own, shared=False)
    def task() -> None: ...

    bench.app.finalize()
    bench.install()
    assert isinstance(task.backend, GuardedKeyValueBackend)


def test_other_backends_are_guarded_too(redis_url: str) -> None:
    """A backend that does not read before it writes is safe without the retry of stores."""
    app = Celery(broker=redis_url, backend="rpc://", set_as_current=False)
    install(app)
    assert isinstance(app.backend, GuardedBackend)
    assert not isinstance(app.backend, GuardedKeyValueBackend)
