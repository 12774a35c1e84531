"""The guarded result backend on a real Redis: each stored value is readable, and no old value prevents a store."""

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
from task_status_worker.installation import configure_worker
from task_status_worker.record.model import Fact, Note

from .conftest import CELERYS_OWN_WARNINGS, Bench

pytestmark = CELERYS_OWN_WARNINGS


@pytest.fixture
def backend(bench: Bench) -> Any:
    """The backend that a worker with the kit has."""
    bench.install()
    configure_worker(bench.app)
    return bench.app.backend


UNREADABLE = {
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


@pytest.mark.parametrize("value", UNREADABLE)
def test_an_outcome_replaces_an_unreadable_value(backend: Any, bench: Bench, value: str) -> None:
    """The outcome of a task replaces an unreadable value under its key."""
    bench.client.set(bench.keys.meta("t"), UNREADABLE[value])
    backend.store_result("t", 42, "SUCCESS")
    assert (bench.meta("t")["status"], bench.meta("t")["result"]) == ("SUCCESS", 42)


@pytest.mark.parametrize("value", ["no status", "a cut bz2 body"])
def test_an_unreadable_value_is_not_an_outage(backend: Any, bench: Bench, value: str) -> None:
    """Reading an unreadable value raises at once; Celery would treat it as an outage and retry for half an hour."""
    bench.client.set(bench.keys.meta("t"), UNREADABLE[value])
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
    """A late failure does not replace a stored success, as in Celery."""
    backend.store_result("t", 42, "SUCCESS")
    backend.store_result("t", ValueError("late"), "FAILURE")
    assert bench.meta("t")["result"] == 42


@pytest.mark.parametrize(
    ("fact", "stores"), [(None, True), (Fact.RECEIVED, True), (Fact.STARTED, False), (Fact.FINISHED, False)]
)
def test_another_worker_stores_no_revoke_of_a_started_task(bench: Bench, fact: Fact | None, stores: bool) -> None:
    """A worker stores no revoke for a task that another worker has started according to its record."""
    bench.install()
    if fact is not None:
        bench.recorder.note(Note(task_id="t", fact=fact))
    panel = Panel(bench.app)
    revoke(panel, "t")
    assert (bench.meta("t") is not None) == stores

    bench.app.backend.mark_as_revoked("t", "terminated", Context({"id": "t"}))
    assert bench.meta("t")["status"] == "REVOKED", "the worker of the task stores it"


class Panel(NamedTuple):
    """The state of a worker that Celery's remote control uses."""

    app: Celery


def test_a_value_that_cannot_be_encoded_raises(backend: Any, bench: Bench) -> None:
    """A value that cannot be encoded raises, and the old value is kept."""
    backend.store_result("t", {"done": 1}, "PROGRESS")
    with pytest.raises(EncodeError):
        backend.store_result("t", object(), "SUCCESS")
    assert bench.meta("t")["status"] == "PROGRESS"


def test_an_unreachable_redis_raises_as_in_celery(bench: Bench) -> None:
    """With Redis unreachable a store fails after the configured retries, as in Celery."""
    bench.app.conf.update(result_backend="redis://127.0.0.1:1/0", result_backend_max_retries=0)
    bench.app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    bench.install()
    configure_worker(bench.app)
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
    """A result waits until Redis accepts writes again; Celery alone would report it as an error of the task."""
    backend.store_result("t", {"done": 1}, "PROGRESS")
    bench.client.execute_command(*refuse)
    storing = threading.Thread(target=backend.store_result, args=("t", 42, "SUCCESS"))
    try:
        storing.start()
        # Long enough for a rejected write; without the retry the thread would have ended.
        storing.join(0.2)
        assert storing.is_alive()
    finally:
        bench.client.execute_command(*accept)
    storing.join(10)
    assert (bench.meta("t")["status"], bench.meta("t")["result"]) == ("SUCCESS", 42)


def test_every_writer_is_guarded(backend: Any, bench: Bench) -> None:
    """Every store, not only `update_state`, writes a readable meta."""
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
    """The stored meta contains the code, the details and the type of `fail` beside Celery's own keys."""
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


def test_present_and_later_backends_are_guarded(bench: Bench) -> None:
    """The present backend is guarded, and so is each later one of an app with a backend per thread."""
    bench.app.conf.result_backend_thread_safe = False
    before = bench.app.backend
    bench.install()
    assert isinstance(before, GuardedKeyValueBackend)
    assert bench.app.backend is before
    assert type(before).__name__ == "RedisBackend"
    assert isinstance(bench.app._get_backend(), GuardedKeyValueBackend)  # noqa: SLF001  # as a new thread would


def test_the_backend_of_a_single_task_is_guarded(bench: Bench) -> None:
    """A backend that only one task uses is guarded too."""
    own = Celery(backend=bench.app.conf.result_backend, set_as_current=False).backend

    @bench.app.task(backend=own, shared=False)
    def task() -> None: ...

    bench.app.finalize()
    bench.install()
    assert isinstance(task.backend, GuardedKeyValueBackend)


def test_other_backends_are_guarded_too(redis_url: str) -> None:
    """A backend that does not read before it writes is guarded without the retry of stores."""
    app = Celery(broker=redis_url, backend="rpc://", set_as_current=False)
    install(app)
    assert isinstance(app.backend, GuardedBackend)
    assert not isinstance(app.backend, GuardedKeyValueBackend)
