"""Celery's stored bytes decode to a `Meta`, for every serializer and within limits."""

import json
import pickle
import sys
from datetime import UTC, date, datetime

import msgspec
import pytest
import yaml
from task_status_service.status.stored.bounds import (
    MAX_CHILD_NODES,
    MAX_CHILDREN,
    MAX_MSGPACK_DEPTH,
    MAX_STORED_BYTES,
    MAX_YAML_BYTES,
)
from task_status_service.status.stored.budget import RESULT, Budget
from task_status_service.status.stored.children import decode_children
from task_status_service.status.stored.meta import UNREADABLE, decode_meta
from task_status_service.status.stored.plain_json import PlainCopy

DOCUMENT = {"status": "SUCCESS", "result": {"a": [1, None, "ż"]}, "task_id": "x"}


def read(stored, *limits):
    """Return the meta and the codes of the diagnostics."""
    codes = set()
    stored = stored if isinstance(stored, bytes) else json.dumps(stored).encode()
    return decode_meta(stored, "x", codes, Budget(*limits)), codes


def unreadable(stored):
    """Return the codes of a value that has no readable state."""
    meta, codes = read(stored)
    assert meta is UNREADABLE
    return codes


@pytest.mark.parametrize(
    ("stored", "codes"),
    [
        (json.dumps(DOCUMENT).encode(), set()),
        (b"\xef\xbb\xbf" + json.dumps(DOCUMENT).encode(), {"bom"}),
        (pickle.dumps(DOCUMENT), {"pickle"}),
        (pickle.dumps(DOCUMENT, 0), {"pickle"}),
        (pickle.dumps(DOCUMENT, 1), {"pickle"}),
        (msgspec.msgpack.encode(DOCUMENT), set()),
        (yaml.safe_dump(DOCUMENT).encode(), set()),
        (b"---\n" + yaml.safe_dump(DOCUMENT).encode(), set()),
        (b"\xef\xbb\xbf" + yaml.safe_dump(DOCUMENT).encode(), {"bom"}),
    ],
)
def test_every_serializer_is_read(stored, codes):
    """All serializers decode to the same meta."""
    meta, found = read(stored)

    assert (meta.celery_state, meta.result, found) == ("SUCCESS", {"a": [1, None, "ż"]}, codes)


@pytest.mark.parametrize(
    ("stored", "codes"),
    [
        (b"x" * (MAX_STORED_BYTES + 1), {"too_large"}),
        (b"a: " + b"x" * MAX_YAML_BYTES, {"too_large"}),
        (b"\x81\xa6status", {"unsupported_serializer"}),
        (b"\x81\xa2\xff\xff\x01", {"unsupported_serializer"}),
        (b"\x81\xa6status" + b"\x91" * 2000 + b"\xc0", {"too_deep"}),
        (b"a: \xff", {"not_utf8"}),
        (b"a: !!python/name:os.system", {"unsupported_serializer"}),
        (b"a: [", {"unsupported_serializer"}),
        (b'a: !!int ""', {"unsupported_serializer"}),
        (b"a: !!timestamp x", {"unsupported_serializer"}),
        (b"a: !!bool x", {"unsupported_serializer"}),
        (b"a: 2026-13-45", {"unsupported_serializer"}),
        (b"a: &a {b: 1}\nc:\n  <<: *a\n", {"unsupported_serializer"}),
        (b"a: " + b"[" * 50_000, {"too_deep"}),
        (b"a:\n  " + b"- " * 50_000, {"too_deep"}),
        (b"a:\n  " + b"? " * 50_000, {"too_deep"}),
        (b"--- text\n", {"not_an_object"}),
        (b"cos\nsystem\n.", {"pickle"}),
        (b"\x80\x04garbage", {"pickle"}),
        (pickle.dumps([1]), {"pickle", "not_an_object"}),
        (b"{", {"invalid_json"}),
        (b"[" * 100_000, {"too_deep"}),
        (b"\xff", {"not_utf8"}),
        ({"status": None}, {"bad_status"}),
    ],
)
def test_an_unreadable_value_has_a_code(stored, codes):
    """A code contains the reason, in addition to the codes of earlier steps."""
    assert unreadable(stored) == codes


def test_the_state_of_a_long_pickle_is_read():
    """The result of a pickle with too many opcodes is omitted, with a diagnostic."""
    meta, codes = read(pickle.dumps({"status": "SUCCESS", "result": list(range(200_000)), "task_id": "x"}))

    assert (meta.celery_state, meta.result, meta.result_readable) == ("SUCCESS", None, False)
    assert codes == {"pickle", "result_too_large"}


@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x01"])
def test_the_depth_bound_of_msgpack_does_not_depend_on_the_interpreter(opening):
    """A value above the bound is too deep, also where the interpreter could recurse deeper (CPython 3.13)."""
    recursion_limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        # The document itself is the first level.
        allowed = b"\x81\xa6result" + opening * (MAX_MSGPACK_DEPTH - 1) + b"\xc0"
        deeper = b"\x81\xa6result" + opening * MAX_MSGPACK_DEPTH + b"\xc0"
        assert "too_deep" not in unreadable(allowed)
        assert "too_deep" in unreadable(deeper)
    finally:
        sys.setrecursionlimit(recursion_limit)


def test_values_that_json_does_not_have_become_text():
    """Extensions, bytes and times of msgpack and YAML become text, a set becomes a list, NaN becomes null."""
    packed = msgspec.msgpack.encode({**DOCUMENT, "result": [msgspec.msgpack.Ext(5, b"x"), b"\xff", b"ok"]})
    written = b"status: SUCCESS\ntask_id: x\nresult: [2024-01-02, 2024-01-02 03:04:05, !!set {a}, !!binary /w==, .nan]"

    assert read(packed)[0].result == ["<msgpack extension 5>", "/w==", "ok"]
    assert read(written) == (
        msgspec.structs.replace(read(DOCUMENT)[0], result=["2024-01-02", "2024-01-02T03:04:05", ["a"], "/w==", None]),
        {"non_finite_number"},
    )


def test_keys_that_are_not_texts_become_texts():
    """A key that is not a text becomes its JSON."""
    document = {**DOCUMENT, "result": {1: "a", None: "b", False: "c", 1.5: "d", b"e": "e"}}

    assert read(pickle.dumps(document))[0].result == {"1": "a", "null": "b", "false": "c", "1.5": "d", "e": "e"}
    assert read(b"status: S\nresult: {? [1, [2]] : a}")[1] == {"unsupported_serializer"}
    assert PlainCopy(set(), Budget()).copy({(1, (2, 3)): 4}) == {'[1, "..."]': 4}


def test_repeated_yaml_aliases_count_towards_the_size():
    """Nine levels of nine references are nearly 400 million nodes, and too large."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10))
    bomb = f"status: SUCCESS\ntask_id: x\nl0: &l0 [lol]\n{levels}\nresult: *l9\n".encode()

    meta, codes = read(bomb)

    assert (meta.celery_state, meta.result, codes) == ("SUCCESS", None, {"result_too_large"})


def test_a_recursive_yaml_alias_is_cut_at_the_depth_limit():
    """A list that contains itself is shown to the depth limit."""
    meta, codes = read(b"status: SUCCESS\ntask_id: x\nresult: &a [*a]\n")

    assert codes == {"too_deep"}
    assert json.dumps(meta.result).count("[") == 101


def test_nested_objects_are_cut_at_the_depth_limit():
    """Objects have the same depth limit as lists."""
    deep = {}
    for _ in range(200):
        deep = {"a": deep}

    meta, codes = read({**DOCUMENT, "result": deep})

    assert codes == {"too_deep"}
    assert json.dumps(meta.result).count("{") == 101


def test_pickled_objects_are_not_shown():
    """An object inside a result becomes a placeholder; a result that is an object is omitted."""
    inside = pickle.dumps({**DOCUMENT, "result": [1, ValueError("x")]})
    whole = pickle.dumps({**DOCUMENT, "result": ValueError("x")})

    assert read(inside)[0].result == [1, "<object>"]
    assert (read(whole)[0].result, read(whole)[0].result_readable) == (None, False)


def test_long_integers_become_text():
    """Long decimal and base 60 integers are not converted; a long pickled integer becomes hexadecimal text."""
    digits = "9" * 1001

    assert read(f'{{"status": "S", "task_id": "x", "result": {digits}}}'.encode())[0].result == digits
    assert read(f"status: S\ntask_id: x\nresult: {'1:' + '1:' * 1000}1\n".encode())[0].result == "1:" * 1001 + "1"
    assert read(b"status: S\ntask_id: x\nresult: 0x1F\n")[0].result == 31
    assert read(pickle.dumps({**DOCUMENT, "result": 16**2000})) == (
        msgspec.structs.replace(read(DOCUMENT)[0], result="0x1" + "0" * 2000),
        {"pickle", "number_too_long"},
    )


@pytest.mark.parametrize(
    ("value", "shown", "codes"),
    [
        (2**53, 2**53, set()),
        (-(2**53) - 1, -(2**53) - 1, {"integer_beyond_2_53"}),
        (10**999, 10**999, {"integer_beyond_2_53"}),
        (float("nan"), None, {"non_finite_number"}),
        ("\ud800a\udc00", "\ufffda\ufffd", {"invalid_unicode"}),
        ("\ud83c\udf89", "\U0001f389", set()),
        ({"__type__": "decimal", "__value__": "1.5"}, "1.5", set()),
        ({"__type__": "uuid", "__value__": {"hex": "0" * 32}}, "00000000-0000-0000-0000-000000000000", set()),
        ({"__type__": "uuid", "__value__": {"hex": "x"}}, None, {"unknown_typed_value"}),
        ({"__type__": "uuid", "__value__": {"hex": 5}}, None, {"unknown_typed_value"}),
        ({"__type__": "uuid", "__value__": "x"}, None, {"unknown_typed_value"}),
        ({"__type__": [], "__value__": "x"}, None, {"unknown_typed_value"}),
        ({"__type__": "decimal", "value": "1.5"}, None, set()),
    ],
)
def test_values_become_valid_json(value, shown, codes):
    """Values that are not valid JSON become null or text; kombu's typed values become text."""
    meta, found = read({**DOCUMENT, "result": value})

    assert meta.result == (value if shown is None and isinstance(value, dict) else shown)
    assert found == codes


def test_a_result_that_is_too_large_is_omitted():
    """A result over the limits of a status is null, and complete with those of a result that is read alone."""
    document = {**DOCUMENT, "result": "x" * 2_000_000}

    assert read(document)[0].result is None
    assert read(document)[1] == {"result_too_large"}
    assert read(document, RESULT)[0].result == "x" * 2_000_000
    assert read({**document, "status": "PROGRESS"})[1] == {"result_too_large"}


def test_long_texts_of_a_failure_are_cut():
    """A failure with one long text keeps its other texts."""
    meta, codes = read({**DOCUMENT, "status": "FAILURE", "result": {"exc_type": "E", "long": "x" * 2_000_000}})

    assert (meta.result["exc_type"], len(meta.result["long"]), codes) == ("E", 100_001, {"truncated_text"})


@pytest.mark.parametrize(
    ("stored", "expected", "code"),
    [
        (None, None, None),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), None),
        ("2026-01-02T03:04:05.000006+05:30", datetime(2026, 1, 1, 21, 34, 5, 6, tzinfo=UTC), None),
        ("2026-01-02T03:04:05.678Z", datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC), None),
        ({"__type__": "datetime", "__value__": "2026-01-02T00:00:00"}, datetime(2026, 1, 2, tzinfo=UTC), None),
        ({"__type__": "money", "__value__": 1}, None, "bad_date_done"),
        ({"a": 1}, None, "bad_date_done"),
        ("2019-05-01T24:00:00", None, "bad_date_done"),
        ("0001-01-01T00:00:00+14:00", None, "bad_date_done"),
        ("2026-01-02T03:04:05+99:00", None, "bad_date_done"),
        ("9" * 100, None, "bad_date_done"),
        (1_700_000_000, None, "bad_date_done"),
    ],
)
def test_date_done_is_read_in_utc(stored, expected, code):
    """The formats of all Celery versions are read; an invalid time has a diagnostic."""
    meta, codes = read({**DOCUMENT, "date_done": stored})

    assert meta.date_done == expected
    assert codes == ({code} if code else set())


def test_a_yaml_timestamp_is_a_valid_date_done():
    """YAML timestamps with and without an offset are valid; a date is invalid."""
    expected = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    assert read(b"status: S\ntask_id: x\nresult: 1\ndate_done: 2026-01-02 03:04:05")[0].date_done == expected
    assert read(b"status: S\ntask_id: x\nresult: 1\ndate_done: 2026-01-02 05:04:05+02:00")[0].date_done == expected
    assert read(yaml.safe_dump({**DOCUMENT, "date_done": date(2026, 1, 2)}).encode())[1] == {"bad_date_done"}


@pytest.mark.parametrize(
    ("stored", "expected", "code"),
    [
        (None, None, None),
        ("text", "text", None),
        (["a", "b"], "a\nb", None),
        (["a", 1], None, "traceback_not_text"),
        (5, None, "traceback_not_text"),
        ("\ud800", "\ufffd", "invalid_unicode"),
        ("", None, "empty_text"),
        (["x" * 99_999] * 11, None, "truncated_text"),
    ],
)
def test_a_traceback_is_a_text_or_lines(stored, expected, code):
    """A list of lines is joined; any other value has a diagnostic."""
    meta, codes = read({**DOCUMENT, "traceback": stored})

    assert meta.traceback == expected
    assert codes == ({code} if code else set())


def test_the_fields_of_result_extended_are_read():
    """The fields that `result_extended` adds are read, except the arguments."""
    extended = {
        "name": "proj.add",
        "worker": "w@h",
        "queue": "q",
        "parent_id": "p",
        "group_id": "g",
        "retries": 2,
        "args": [1],
    }

    meta, codes = read({**DOCUMENT, **extended})

    assert (meta.name, meta.worker, meta.queue, meta.parent_id, meta.group_id, meta.retries) == (
        "proj.add",
        "w@h",
        "q",
        "p",
        "g",
        2,
    )
    assert codes == set()


@pytest.mark.parametrize("name", ["name", "worker", "parent_id", "group_id", "queue"])
def test_an_empty_name_has_a_diagnostic(name):
    """An empty name or id is null; the routing key may be empty, so an empty queue has no diagnostic."""
    meta, codes = read({**DOCUMENT, name: ""})

    assert getattr(meta, name) is None
    assert codes == (set() if name == "queue" else {"empty_text"})


@pytest.mark.parametrize("bad", [None, 5, ["x"], {"a": 1}])
def test_invalid_names_and_retries_are_ignored(bad):
    """An invalid name is None and an invalid number of retries is 0, without a diagnostic."""
    meta, codes = read({**DOCUMENT, "name": bad, "retries": bad if bad != 5 else -5})

    assert (meta.name, meta.retries, codes) == (None, 0, set())


@pytest.mark.parametrize(
    ("document", "codes"),
    [
        ({"status": "SUCCESS"}, {"no_result", "no_task_id"}),
        ({**DOCUMENT, "task_id": "another"}, {"task_id_mismatch"}),
        ({**DOCUMENT, "task_id": ["x"]}, {"task_id_mismatch"}),
        ({**DOCUMENT, "status": "S" * 301}, {"truncated_text"}),
    ],
)
def test_oddities_have_codes_and_a_readable_state(document, codes):
    """A missing or contradictory field has a diagnostic, and the state is readable."""
    meta, found = read(document)

    assert meta.celery_state
    assert found == codes


def test_control_characters_in_a_state_are_replaced():
    """A state may be written to headers and logs, so it contains no control characters."""
    assert read({**DOCUMENT, "status": "A\r\nB\x00\x85"})[0].celery_state == "A\ufffd\ufffdB\ufffd\ufffd"


def test_pid_and_hostname_of_started_are_hidden():
    """The keys that Celery stores with STARTED are not custom meta, unless the task stores more keys."""
    own = {"pid": 1, "hostname": "w@h", "done": 1}

    assert read({**DOCUMENT, "status": "STARTED", "result": {"pid": 1, "hostname": "w@h"}})[0].result is None
    assert read({**DOCUMENT, "status": "STARTED", "result": own})[0].result == own
    assert read({**DOCUMENT, "status": "STARTED", "result": "text"})[0].result == "text"


def children(stored):
    """Return the ids and the codes."""
    codes = set()
    return decode_children(stored, codes), codes


@pytest.mark.parametrize(
    ("stored", "ids", "codes"),
    [
        (None, [], set()),
        ([], [], set()),
        ([[["a", None], None], [["b", "a"], None]], ["a", "b"], set()),
        ([[["g", None], [[["a", None], None], [["b", None], None]]], [["c", None], None]], ["a", "b", "c"], set()),
        ([[["g", None], []]], [], set()),
        ("abc", [], {"bad_children"}),
        ([[["", None], None], [["a", None], None]], ["a"], {"bad_children"}),
        (5, [], {"bad_children"}),
        ([["a", None], [["b", None], None]], ["b"], {"bad_children"}),
        ([[["\ud800", None], None]], ["\ufffd"], {"invalid_unicode"}),
        ([[["x" * 301, None], None]], ["x" * 300 + "…"], {"truncated_text"}),
    ],
)
def test_children_are_listed_in_order(stored, ids, codes):
    """A group is replaced by its members, and invalid nodes are omitted."""
    assert children(stored) == (ids, codes)


def test_the_number_of_children_is_limited():
    """Listed children and visited nodes are limited, even if nodes are repeated."""
    task = [["a", None], None]
    group = [["g", None], []]
    for _ in range(20):
        group = [["g", None], [group] * 20]

    assert children([task] * (MAX_CHILDREN + 1)) == (["a"] * MAX_CHILDREN, {"children_truncated"})
    assert children([task] * MAX_CHILDREN) == (["a"] * MAX_CHILDREN, set())
    assert children([group]) == ([], {"children_truncated"})
    assert children([None] * (MAX_CHILD_NODES + 1)) == ([], {"bad_children", "children_truncated"})
