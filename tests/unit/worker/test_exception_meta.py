"""The metas that the kit completes, checked with Celery's own reader."""

import os
import sys
from typing import Any

import pytest
from celery import Celery, states
from celery.backends.base import Backend
from celery.exceptions import Retry, TaskRevokedError
from hypothesis import given
from hypothesis import strategies as st
from task_status_worker.exception_meta import readable_meta
from task_status_worker.failure import TaskFailed

READER: Any = Backend(Celery(set_as_current=False))
DEFAULTS = {"FAILURE": TaskFailed, "RETRY": Retry, "REVOKED": TaskRevokedError}


def read(state: str, meta: Any) -> Any:
    """Read a stored meta as `AsyncResult.result` does, after JSON."""
    return READER.decode_result(READER.encode({"status": state, "result": meta}))["result"]


@pytest.mark.parametrize("state", sorted(states.EXCEPTION_STATES))
@pytest.mark.parametrize(
    "meta",
    [
        {"custom": "disk full"},
        "disk full",
        ["disk full"],
        {"error": "disk full", "n": 1},
        {"details": {"row": 3}, "msg": "disk full"},
    ],
)
def test_what_celery_cannot_read_is_completed(state: str, meta: Any) -> None:
    """A meta of any shape becomes the exception of its state, with its text."""
    completed = readable_meta(meta, state)
    error = read(state, completed)
    assert type(error) is DEFAULTS[state]
    assert completed["exc_message"] == ["disk full"]


def test_custom_keys_stay() -> None:
    """Custom keys stay in the completed meta."""
    meta = {"custom": {"row": 3}, "code": 7}
    completed = readable_meta(meta, "FAILURE")
    assert {name: completed[name] for name in meta} == meta
    assert completed["exc_message"] == ["the task stored FAILURE without a message"]


@pytest.mark.parametrize(
    "meta",
    [
        {"exc_type": "ValueError", "exc_message": ["a", "b"], "custom": 1},
        {"exc_type": "ValueError", "exc_message": "a", "exc_module": "builtins"},
        {"exc_type": "Gone", "exc_module": "not.imported"},
        {"exc_type": "NoSuchName", "exc_module": "builtins"},
        ValueError("an exception is Celery's to encode"),
    ],
)
def test_what_celery_reads_is_untouched(meta: Any) -> None:
    """A readable meta stays unchanged."""
    assert readable_meta(meta, "FAILURE") is meta


@pytest.mark.parametrize("state", ["PROGRESS", "SUCCESS", "STARTED", "PARTIAL", None])
def test_other_states_are_untouched(state: str | None) -> None:
    """Only the states that Celery reads as an exception are completed."""
    meta = {"custom": 1}
    assert readable_meta(meta, state) is meta


def test_a_retry_without_an_exception_is_celerys_own() -> None:
    """Celery stores null for a retry without an exception, which stays unchanged."""
    assert readable_meta(None, "RETRY") is None


def test_a_failure_without_a_meta_becomes_one() -> None:
    """A failure without a meta gets an exception; otherwise `AsyncResult.get()` raises None."""
    assert isinstance(read("FAILURE", readable_meta(None, "FAILURE")), TaskFailed)


@pytest.mark.parametrize("exc_type", ["system", "path", "path.sep"])
def test_a_type_that_is_no_exception_keeps_its_name(exc_type: str) -> None:
    """A type that is no exception is kept as a name only; Celery would raise a SecurityError for it."""
    assert os.__name__ in sys.modules
    completed = readable_meta({"exc_type": exc_type, "exc_module": "os", "exc_message": "x"}, "FAILURE")
    error = read("FAILURE", completed)
    assert isinstance(error, Exception)
    assert type(error).__name__ == exc_type


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["ValueError", "system", "", "a.b", "\0", "path", "__doc__"]) | JSON
METAS = JSON | st.fixed_dictionaries(
    {},
    optional={
        "exc_type": NAMES,
        "exc_module": st.sampled_from(["os", "builtins", "", "celery.exceptions"]) | JSON,
        "exc_message": JSON,
        "custom": JSON,
    },
)


@given(meta=METAS, state=st.sampled_from(sorted(states.EXCEPTION_STATES)))
def test_celery_reads_every_completed_meta(meta: Any, state: str) -> None:
    """Celery's reader never raises for a completed meta: it returns an exception or None."""
    error = read(state, readable_meta(meta, state))
    assert error is None or isinstance(error, BaseException)
    assert error is not None or state == "RETRY"


@given(meta=METAS, state=st.sampled_from(sorted(states.EXCEPTION_STATES)))
def test_completing_twice_changes_nothing(meta: Any, state: str) -> None:
    """Completing a meta twice changes nothing more."""
    once = readable_meta(meta, state)
    assert readable_meta(once, state) == once
