"""The rules by which stored failures are decoded."""

import json
import pickle

import msgspec
import pytest
from celery.utils.serialization import UnpickleableExceptionWrapper, get_pickleable_exception
from task_status_service.status import FailureKind, Snapshot, Visibility, decode
from task_status_service.status.failures.failure import decode_failure, failure_of_record
from task_status_service.status.failures.kinds import classify
from task_status_service.status.failures.messages import last_line
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.meta import Meta
from task_status_worker.record.model import RecordedFailure

TRACEBACK = "Traceback (most recent call last):\n  File 'x'\napp.errors.Odd: what Python printed\n"


def read(result, traceback=None, celery_state="FAILURE", *, readable=True):
    """Return the failure and the codes of the diagnostics."""
    codes = set()
    meta = Meta(celery_state=celery_state, result=result, traceback=traceback, result_readable=readable)
    return decode_failure(meta, codes), codes


def exception(arguments, type_="ValueError", module="builtins", **others):
    """Return the object that Celery stores for an exception."""
    return {"exc_type": type_, "exc_message": arguments, "exc_module": module, **others}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bad"], "bad"),
        ("bad", "bad"),
        ([404], "404"),
        (404, "404"),
        ([True], "true"),
        ([], ""),
        ([None], ""),
        ([None, None], ""),
        (None, ""),
        ([""], ""),
        (["a", "b"], "a, b"),
        (["a", None, 3, [1, {"k": "ż"}]], 'a, 3, [1, {"k": "ż"}]'),
        ([["row 1", "row 2"]], "row 1\nrow 2"),
        ([[1, 2]], "[1, 2]"),
        ([[]], "[]"),
        ({"code": 1}, '{"code": 1}'),
        ([{"code": 1}], '{"code": 1}'),
    ],
)
def test_the_message_is_made_of_the_arguments(arguments, message):
    """A single argument is the message; several are joined; None is ignored."""
    failure, codes = read(exception(arguments))

    assert failure.message == message
    assert failure.details is None
    assert codes == set()


@pytest.mark.parametrize(
    "argument", [{"error": {"message": "no"}, "code": 7}, [{"error": {"message": "no"}, "code": 7}]]
)
def test_an_object_as_argument_contains_message_and_details(argument):
    """Its text is the message; its keys and the other stored keys are the details."""
    failure, _ = read(exception(argument, row=3))

    assert failure.message == "no"
    assert failure.details == {"error": {"message": "no"}, "code": 7, "row": 3}


def test_lines_of_a_traceback_as_argument_are_the_traceback():
    """Many articles advise to store the lines of the traceback as `exc_message`."""
    failure, _ = read(exception(TRACEBACK.split("\n"), type_="Odd", module="app.errors"))

    assert failure.message == "what Python printed"
    assert failure.traceback == TRACEBACK


def test_the_traceback_has_the_message_of_several_arguments():
    """The last line of the traceback replaces the joined arguments, if the type is the same."""
    assert read(exception(["a", 2], "Odd", "app.errors"), TRACEBACK)[0].message == "what Python printed"
    assert read(exception(["a", 2], "Other", "app.errors"), TRACEBACK)[0].message == "a, 2"
    assert read({"exc_message": ["a", 2]}, TRACEBACK)[0].message == "a, 2"


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (exception([2, "No such file"], "FileNotFoundError"), "[Errno 2] No such file"),
        (exception([2, "No such file"], "ValueError"), "2, No such file"),
        (exception([2, "No such file"], "OSError", "app"), "2, No such file"),
    ],
)
def test_the_message_of_an_os_error_begins_with_its_number(result, message):
    """The arguments of a built-in `OSError` are a number and a text."""
    assert read(result)[0].message == message


def test_an_os_error_with_its_traceback_names_the_file():
    """The file name is in the traceback, but not in `exc_message`."""
    traceback = "Traceback\nFileNotFoundError: [Errno 2] No such file: 'x.csv'"

    failure, _ = read(exception([2, "No such file"], "FileNotFoundError"), traceback)

    assert failure.message == "[Errno 2] No such file: 'x.csv'"


@pytest.mark.parametrize(
    ("result", "type_", "module"),
    [
        ({"exc_type": "ValueError", "exc_module": "builtins"}, "ValueError", "builtins"),
        ({"exc_type": "a.b.C"}, "C", "a.b"),
        ({"exc_type": "path.join", "exc_module": "os"}, "path.join", "os"),
        ({"exc_type": "<class 'ValueError'>"}, "ValueError", None),
        ({"exc_type": "<class 'a.b.C'>"}, "C", "a.b"),
        ({"exc_type": "C."}, "C.", None),
        ({"exc_type": ".C"}, ".C", None),
        ({"exc_type": ""}, None, None),
        ({"exc_type": "E", "exc_module": " "}, "E", None),
    ],
)
def test_type_and_module_are_separated(result, type_, module):
    """The module is split from the class name, if no module is stored."""
    failure, _ = read(result)

    assert (failure.type, failure.module) == (type_, module)


@pytest.mark.parametrize(
    ("result", "details", "codes"),
    [
        ({"exc_type": 500}, {"exc_type": 500}, {"exc_type_not_text", "nonstandard_failure"}),
        ({"exc_type": "E", "exc_module": None}, {"exc_module": None}, set()),
        ({"exc_type": "E", "exc_module": ["m"]}, {"exc_module": ["m"]}, {"nonstandard_failure"}),
        ({"custom": {"row": 7}}, {"custom": {"row": 7}}, {"nonstandard_failure"}),
    ],
)
def test_other_keys_are_the_details(result, details, codes):
    """An invalid `exc_type` or `exc_module` is also a detail; Celery cannot read some of these failures."""
    failure, found = read(result)

    assert failure.details == details
    assert found == codes


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"error": "boom"}, "boom"),
        ({"error": {"code": 1, "message": "bad row"}}, "bad row"),
        ({"error": {"code": 1}, "reason": "quota"}, "quota"),
        ({"message": " ", "msg": "m"}, "m"),
        ({"status": "failed", "info": "i"}, "i"),
        ({"errors": ["a", {"field": "b"}]}, 'a; {"field": "b"}'),
        ({"errors": []}, ""),
        ({"errors": "e"}, ""),
        ({"outer": {"inner": {"message": "m"}}}, ""),
    ],
)
def test_the_message_of_an_object_of_any_shape(result, message):
    """The message is the first text under one of the usual keys, at most one object deep."""
    failure, _ = read(result)

    assert failure.message == message
    assert failure.details == result


@pytest.mark.parametrize(
    ("result", "message", "details"),
    [
        ("just text", "just text", None),
        (["ab", "cd"], "ab\ncd", None),
        (1.5, "1.5", None),
        (True, "true", None),
        ([{"row": 1}], "", [{"row": 1}]),
        ([["a", 1], ["b"]], "", [["a", 1], ["b"]]),
        (["a", 1], "", ["a", 1]),
    ],
)
def test_a_result_that_is_not_an_object(result, message, details):
    """A text, a list of lines or a number is the message; other lists are details."""
    failure, codes = read(result)

    assert (failure.message, failure.details) == (message, details)
    assert codes == {"nonstandard_failure"}


def test_a_list_of_pairs_is_an_object():
    """Celery also reads a list of pairs as an object."""
    failure, codes = read([["exc_type", "ValueError"], ["exc_message", "from pairs"], ["row", 1]])

    assert (failure.type, failure.message, failure.details) == ("ValueError", "from pairs", {"row": 1})
    assert codes == set()


@pytest.mark.parametrize("empty", [None, False, 0, "", [], {}])
def test_an_empty_result_has_no_message(empty):
    """A failed task has an empty failure; a retry or a cancel has no failure."""
    failure, codes = read(empty)

    assert msgspec.structs.astuple(failure) == (FailureKind.EXCEPTION, None, None, "", None, None)
    assert codes == set()
    assert read(empty, celery_state="RETRY") == (None, set())
    assert read(empty, celery_state="REVOKED") == (None, set())


def test_a_rejected_task_may_store_any_object():
    """Celery does not read the result of a rejected task as an exception."""
    assert read({"reason": "bad"}, celery_state="REJECTED")[1] == set()


@pytest.mark.parametrize(
    ("arguments", "type_", "module", "message", "codes"),
    [
        (["m", "C", ["text"], "C('text')"], "C", "m", "text", {"unwrapped_exception"}),
        (["m", "C", ["a", 2], "C('a', 2)"], "C", "m", "C('a', 2)", {"unwrapped_exception"}),
        (["m", "C", [], None], "C", "m", "", {"unwrapped_exception"}),
        ([], "UnpickleableExceptionWrapper", "celery.utils.serialization", "", set()),
        (["m", 2, [], "x"], "UnpickleableExceptionWrapper", "celery.utils.serialization", "m, 2, [], x", set()),
    ],
)
def test_an_exception_that_could_not_be_pickled_is_unwrapped(arguments, type_, module, message, codes):
    """Celery stores a wrapper with the name and the arguments of the exception."""
    wrapped = exception(arguments, "UnpickleableExceptionWrapper", "celery.utils.serialization")

    failure, found = read(wrapped)

    assert (failure.type, failure.module, failure.message, found) == (type_, module, message, codes)


@pytest.mark.parametrize(
    ("result", "message", "codes"),
    [
        (exception([], "SoftTimeLimitExceeded", "billiard.exceptions"), "soft time limit exceeded", set()),
        (exception([2], "TimeLimitExceeded", "billiard.exceptions"), "hard time limit exceeded (2 s)", set()),
        (exception(["own message"], "SoftTimeLimitExceeded", "celery.exceptions"), "own message", set()),
        (exception(["why", False], "Reject", "celery.exceptions"), "why", set()),
        (exception(["m", None, None], "Retry", "celery.exceptions"), "m", set()),
        (
            exception(["Retry(Retry(...), None, None)", None, None], "Retry", "celery.exceptions"),
            "the worker was stopped while the task ran",
            {"cancelled_by_worker"},
        ),
    ],
)
def test_celerys_own_exceptions_have_readable_messages(result, message, codes):
    """The messages of time limits, `Reject` and `Retry` are texts, not arguments."""
    failure, found = read(result)

    assert (failure.message, found) == (message, codes)


def test_a_traceback_fills_in_missing_fields():
    """Type, module and message of a retry without an exception come from the last line of its traceback."""
    failure, _ = read(None, TRACEBACK, "RETRY")

    assert (failure.type, failure.module, failure.message) == ("Odd", "app.errors", "what Python printed")
    assert failure.traceback == TRACEBACK


def test_a_stored_type_takes_precedence_over_the_traceback():
    """The traceback of a wrapped exception may end with another type."""
    assert read(exception([], "Mine", "app"), TRACEBACK)[0].type == "Mine"


def test_a_result_that_is_a_traceback():
    """Type and message are parsed from a stored `traceback.format_exc()`."""
    failure, codes = read(TRACEBACK)

    assert (failure.type, failure.message, failure.traceback) == ("Odd", "what Python printed", TRACEBACK)
    assert codes == {"nonstandard_failure"}


def test_a_traceback_inside_the_result():
    """It is the traceback if Celery's own is missing, else a detail."""
    inside = exception(["m"], traceback="inside")

    assert (read(inside)[0].traceback, read(inside)[0].details) == ("inside", None)
    assert (read(inside, "own")[0].traceback, read(inside, "own")[0].details) == ("own", {"traceback": "inside"})
    assert read(exception(["m"], traceback=["a", "b"]))[0].traceback == "a\nb"
    assert read(exception(["m"], traceback=5))[0].details == {"traceback": 5}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ValueError: bad", (None, "ValueError", "bad")),
        ("a.b.C: x: y", ("a.b", "C", "x: y")),
        ("KeyboardInterrupt", (None, "KeyboardInterrupt", None)),
        ("ValueError:", (None, "ValueError", None)),
        ("error: lower", (None, "error", "lower")),
        ("done", (None, None, "done")),
        ("the second line: of a message", (None, None, "the second line: of a message")),
    ],
)
def test_the_last_line_of_a_traceback(line, expected):
    """The type is a dotted name before a colon, or a class name alone."""
    assert last_line(f"Traceback\n  File\n{line}\n\n") == expected


def test_an_empty_traceback_has_no_last_line():
    """A traceback of white space has neither type nor message."""
    assert last_line(" \n") == (None, None, None)


def test_long_texts_are_cut():
    """The limits are 300 characters for names, 10,000 for messages and 100,000 for tracebacks."""
    failure, codes = read(exception(["m" * 10_001], "T" * 301, "o" * 301), "t" * 100_001)

    assert [len(text) for text in (failure.type, failure.module, failure.message, failure.traceback)] == [
        301,
        301,
        10_001,
        100_001,
    ]
    assert codes == {"truncated_text"}


@pytest.mark.parametrize(
    ("module", "type_", "kind"),
    [
        ("builtins", "ValueError", FailureKind.EXCEPTION),
        (None, None, FailureKind.EXCEPTION),
        ("billiard.exceptions", "SoftTimeLimitExceeded", FailureKind.TIMEOUT),
        ("celery.exceptions", "TimeLimitExceeded", FailureKind.TIMEOUT),
        ("app", "TimeLimitExceeded", FailureKind.EXCEPTION),
        ("billiard.exceptions", "WorkerLostError", FailureKind.WORKER_LOST),
        ("celery.exceptions", "Reject", FailureKind.REJECTED),
        ("celery.exceptions", "NotRegistered", FailureKind.NOT_REGISTERED),
        ("celery.exceptions", "TaskRevokedError", FailureKind.CANCELED),
        ("kombu.exceptions", "EncodeError", FailureKind.NOT_SERIALIZABLE),
        ("kombu.exceptions", "OperationalError", FailureKind.INFRASTRUCTURE),
        ("redis.exceptions", "ConnectionError", FailureKind.INFRASTRUCTURE),
        ("redistribute", "Error", FailureKind.EXCEPTION),
        ("celery.exceptions", "BackendStoreError", FailureKind.INFRASTRUCTURE),
    ],
)
def test_the_name_of_the_exception_decides_the_kind(module, type_, kind):
    """The kind depends only on package and class name; no class is looked up."""
    assert classify(module, type_) is kind


def test_the_kind_of_an_unreadable_failure():
    """An unreadable failure has this kind, unless its traceback contains the type."""
    assert read(None, readable=False)[0].kind is FailureKind.UNREADABLE
    assert read(None, TRACEBACK, readable=False)[0].kind is FailureKind.EXCEPTION


def test_a_recorded_failure_is_classified_and_cut():
    """The failure in a record has the same kinds and limits as one in a meta."""
    codes = set()
    recorded = RecordedFailure(
        type="WorkerLostError", module="billiard.exceptions", message="m" * 10_001, details={"a": [1]}, traceback="t"
    )

    failure = failure_of_record(recorded, codes, Budget())

    assert failure.kind is FailureKind.WORKER_LOST
    assert failure.details == {"a": [1]}
    assert codes == {"truncated_text"}


@pytest.mark.parametrize("name", ["exc_type", "exc_module", "traceback"])
@pytest.mark.parametrize("empty", ["", " ", "\n"])
def test_an_empty_text_is_null(name, empty):
    """An empty type, module or traceback is null with a diagnostic, in Celery's meta and in a record."""
    meta = {"status": "FAILURE", "result": {"exc_type": "E", "exc_module": "m", "exc_message": ["m"]}, "traceback": "t"}
    (meta if name == "traceback" else meta["result"])[name] = empty
    field = name.removeprefix("exc_")
    recorded = RecordedFailure(**{"type": "E", "module": "m", "message": "m", "traceback": "t", field: empty})
    codes = set()

    stored = decode(Snapshot(task_id="x", meta=json.dumps(meta).encode()), view=Visibility.OPERATOR)
    in_record = failure_of_record(recorded, codes, Budget())

    for failure in (stored.failure, in_record):
        assert getattr(failure, field) is None
        assert failure.message == "m"
    assert "empty_text" in {diagnostic.code for diagnostic in stored.diagnostics}
    assert codes == {"empty_text"}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_wrapper_is_unwrapped(protocol):
    """The type, module and message of an exception that Celery could not pickle are read from its wrapper."""

    class Local(Exception):
        pass

    wrapper = get_pickleable_exception(Local("bad", 7))
    assert isinstance(wrapper, UnpickleableExceptionWrapper)
    meta = {"status": "FAILURE", "result": wrapper, "traceback": None, "task_id": "x"}

    status = decode(Snapshot(task_id="x", meta=pickle.dumps(meta, protocol)))

    assert (status.failure.type, status.failure.module) == ("Local", __name__)
    assert status.failure.message == repr(Local("bad", 7))
    assert {diagnostic.code for diagnostic in status.diagnostics} == {"pickle", "unwrapped_exception"}


@pytest.mark.parametrize(
    ("stored", "details"),
    [
        ({"details": {"field": "amount"}}, {"field": "amount"}),
        ({"details": [1, 2]}, [1, 2]),
        ({"details": "text"}, "text"),
        ({"code": "limit", "details": {"field": "amount"}}, {"code": "limit", "field": "amount"}),
        # The details stay nested if a key would be lost.
        ({"code": "limit", "details": {"code": 7}}, {"code": "limit", "details": {"code": 7}}),
        ({"code": "limit", "details": [1, 2]}, {"code": "limit", "details": [1, 2]}),
        ({"details": {"details": {"a": 1}}}, {"details": {"a": 1}}),
    ],
)
def test_details_are_not_nested(stored, details):
    """The value under the key `details` is part of the details, in Celery's meta and in a record."""
    in_meta, _ = read(exception(["m"], **stored))
    in_record = failure_of_record(RecordedFailure(details=stored), set(), Budget())
    assert (in_meta.details, in_record.details) == (details, details)


def test_recorded_details_that_are_too_large_are_omitted():
    """The details are null, and a diagnostic reports it."""
    codes = set()

    failure = failure_of_record(RecordedFailure(details="d" * 2_000_000), codes, Budget())

    assert failure.details is None
    assert codes == {"result_too_large"}
