"""`fail`, `finish`, and the failure that a record keeps."""

import pickle
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from celery.exceptions import Ignore
from task_status_worker import TaskFailed, fail, finish
from task_status_worker.failure import bounded, failure_in_meta, failure_of
from task_status_worker.record.codec import MAX_FIELD_BYTES
from task_status_worker.record.model import RecordedFailure


def test_fail_raises_a_task_failed_with_its_arguments() -> None:
    """`fail` raises an ordinary exception, which a unit test of a task can catch."""
    with pytest.raises(TaskFailed, match="no such customer") as raised:
        fail("no such customer", code="missing", details={"at": datetime(2026, 1, 1, tzinfo=UTC), "o": object})
    error = raised.value
    assert error.custom_fields() == {
        "code": "missing",
        "details": {"at": "2026-01-01T00:00:00Z", "o": "<class 'object'>"},
    }


class Unshowable:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def circular() -> dict[str, Any]:
    """Return a value that contains itself."""
    value: dict[str, Any] = {}
    value["itself"] = value
    return value


@pytest.mark.parametrize(
    ("details", "kept"),
    [
        ({(1, 2): 3}, "{(1, 2): 3}"),
        ({None: 1}, "{None: 1}"),
        (circular(), "{'itself': {...}}"),
        ({"o": Unshowable()}, {"o": "<Unshowable that cannot be shown>"}),
    ],
)
def test_details_never_replace_a_failure(details: Any, kept: Any) -> None:
    """Details that JSON cannot hold become text, and the task still fails with its own message."""
    with pytest.raises(TaskFailed, match="no such customer") as raised:
        fail("no such customer", details=details)
    assert raised.value.details == kept


def test_a_failure_that_cannot_be_shown() -> None:
    """A TaskFailed that is raised directly may have details that JSON cannot hold."""
    assert failure_of(TaskFailed("x", details={"o": Unshowable()})).message == "x"


def test_a_failure_crosses_a_pool() -> None:
    """Celery pickles an exception on its way to the main process, so a TaskFailed must survive it."""
    error = pickle.loads(pickle.dumps(TaskFailed("x", code="c", details=[1], exc_type="Mine")))
    assert (str(error), error.code, error.details, error.exc_type) == ("x", "c", [1], "Mine")
    assert error.stored_fields() == {"code": "c", "details": [1], "exc_type": "Mine", "exc_module": None}


@pytest.mark.parametrize("state", ["", "SUCCESS", "FAILURE", "RETRY", "REVOKED", "STARTED", "PENDING", "IGNORED"])
def test_finish_refuses_celerys_own_states(state: str) -> None:
    """`finish` rejects Celery's own states, which have their own ways: return, raise, retry, fail."""
    with pytest.raises(ValueError, match="own state"):
        finish(state)


def test_finish_outside_a_task_raises_ignore() -> None:
    """Outside a task `finish` raises Ignore, so that a unit test can call a function that uses it."""
    with pytest.raises(Ignore, match="PARTIAL"):
        finish("PARTIAL", {"rows": 3})


class NoText(Exception):
    """An exception whose text cannot be read."""

    def __str__(self) -> str:
        """Raise an error."""
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("a"), "a"),
        (KeyError("a"), "a"),
        (FileNotFoundError(2, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (NoText(), "<NoText that cannot be shown>"),
        (ValueError("\ud800"), "?"),
    ],
)
def test_the_message_is_the_exceptions_text(error: Exception, message: str) -> None:
    """The message of a failure is readable text that UTF-8 can encode."""
    kept = failure_of(error)
    assert (kept.type, kept.module, kept.message) == (type(error).__qualname__, type(error).__module__, message)
    assert kept.traceback is None


def test_the_traceback_is_kept_if_there_is_one() -> None:
    """A recorded traceback ends with its exception."""
    with pytest.raises(ValueError, match="boom") as raised:
        raise ValueError("boom")
    traceback = failure_of(raised.value).traceback
    assert traceback is not None
    assert traceback.endswith("ValueError: boom\n")
    assert failure_of(raised.value, with_traceback=False).traceback is None


@pytest.mark.parametrize(
    "details", [None, "x" * 20_000, {"a": "\x00" * 5_000}, [2**70], {(1, 2): 3}, {"surrogate": "\ud800"}]
)
@pytest.mark.parametrize("char", ["x", "\x00", "ż", "\ud800"])
def test_a_failure_always_fits(char: str, details: Any) -> None:
    """A packed failure always fits into a field of a record; the message is dropped last."""
    text = char * 100_000
    kept = bounded(RecordedFailure(type=text, module=text, message=text, details=details, traceback=text))
    assert len(msgspec.json.encode(kept, enc_hook=str)) <= MAX_FIELD_BYTES
    assert kept.message is not None
    assert kept.message.endswith("…")


def test_a_short_failure_is_kept_whole() -> None:
    """A text that fits is not shortened; a long traceback keeps its end."""
    failure = RecordedFailure(type="E", module="m", message="x", details={"a": 1}, traceback="t")
    assert bounded(failure) == failure
    long = bounded(msgspec.structs.replace(failure, traceback="a" * 20_000 + "END"))
    assert long.traceback is not None
    assert long.traceback.startswith("…")
    assert long.traceback.endswith("END")


def test_details_go_before_the_message() -> None:
    """Details that are too large are dropped, and the other fields stay."""
    kept = bounded(RecordedFailure(type="E", message="x", details={"a": "x" * 20_000}))
    assert kept == RecordedFailure(type="E", message="x")


def test_a_stored_failure_is_kept_with_its_custom_keys() -> None:
    """A meta that a task stored itself before Ignore becomes a recorded failure."""
    meta = {"exc_type": "E", "exc_message": ["a", "b"], "exc_module": None, "custom": 1}
    assert failure_in_meta(meta) == RecordedFailure(type="E", message="a\nb", details={"custom": 1})
    assert failure_in_meta({"exc_type": "E", "exc_message": "a", "exc_module": "m"}) == RecordedFailure(
        type="E", message="a", module="m"
    )
    assert failure_in_meta(None) is None
