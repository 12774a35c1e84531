"""The plain data of pickles is read without unpickling."""

import collections
import pickle
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from task_status_service.status import decode
from task_status_service.status.model import Snapshot
from task_status_service.status.stored.pickle_reader import OPAQUE, NotReadable, TooManyOpcodes
from task_status_service.status.stored.pickle_reader import read_plain as read_limited

LIMIT = 10_000
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = {
    "text": "ż\U0001f389" * 200,
    "long": "x" * 300,
    "none": None,
    "flags": [True, False],
    "numbers": [0, 255, 65_535, -1, 2**31, 2**40, 10**30, 1.5, -0.0],
    "bytes": [b"short", b"long" * 100],
    "nested": {"nested": [[], {}, [[1]]]},
}


def read_plain(data, **how):
    """Read a pickle with a limit of opcodes."""
    return read_limited(data, limit=LIMIT, **how)


class Built:
    """A result that is an instance of a class."""

    def __init__(self):
        self.value = 1


class Touch:
    """An object that creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_plain_data_is_read(protocol):
    """Plain data of every protocol is read unchanged; before protocol 3, bytes are not plain data."""
    plain = dict(PLAIN) if protocol > 2 else {key: value for key, value in PLAIN.items() if key != "bytes"}

    assert read_plain(pickle.dumps(plain, protocol)) == plain


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_tuples_become_lists(protocol):
    """A tuple is read as a list, because JSON has no tuples."""
    value = [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)]

    assert read_plain(pickle.dumps(value, protocol)) == [list(item) for item in value]


def test_sets_become_lists():
    """A set is read as a list, because JSON has no sets; a bytearray is read as bytes."""
    assert sorted(read_plain(pickle.dumps({1, 2, 3}, 4))) == [1, 2, 3]
    assert sorted(read_plain(pickle.dumps(frozenset({1, 2}), 4))) == [1, 2]
    assert read_plain(pickle.dumps(bytearray(b"x"), 5)) == b"x"


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [Built(), datetime(2024, 1, 2, tzinfo=UTC), ValueError("x"), collections.OrderedDict(a=1), len],
)
def test_objects_are_opaque(protocol, value):
    """An object is replaced by `OPAQUE`, and the values around it are read."""
    document = {"status": "SUCCESS", "result": [value, 1], "task_id": "x"}

    assert read_plain(pickle.dumps(document, protocol)) == {"status": "SUCCESS", "result": [OPAQUE, 1], "task_id": "x"}


@pytest.mark.parametrize(
    ("opcodes", "value"),
    [
        (b"(lp0\nI1\naI2\na.", [1, 2]),
        (b"(I1\nI2\nl.", [1, 2]),
        (b"(dp0\nS'a'\nI01\ns.", {"a": True}),
        (b"(S'a'\nL5L\nd.", {"a": 5}),
        (b"](I1\nI2\n0e.", [1]),
        (b"](I1\n1I2\na.", [2]),
        (b"I1\n2\x86.", [1, 1]),
        (b"(I1\nios\nsystem\n.", OPAQUE),
        (b"(cos\nsystem\nI1\no.", OPAQUE),
        (b"Pname\n.", OPAQUE),
        (b"I1\nQ.", OPAQUE),
        (b"\x82\x01.", OPAQUE),
        (b"cos\nsystem\n(I1\nI2\ne.", OPAQUE),
        (b"cos\nsystem\n(I1\nI2\nu.", OPAQUE),
        (b"}(]I1\nI2\nI3\nu.", {"2": 3}),
    ],
)
def test_rare_opcodes_are_read(opcodes, value):
    """Opcodes that Python 3 no longer writes are read."""
    assert read_plain(opcodes) == value


@pytest.mark.parametrize(
    "garbage",
    [b"", b".", b"garbage", b"\x80\x04", b"\x80\x04N", b"e.", b"h\x07.", b"I1\na.", b"Ix\n.", b"\x8a\xff.", b"0."],
)
def test_invalid_pickles_raise_one_exception(garbage):
    """Any invalid pickle raises `NotReadable`."""
    with pytest.raises(NotReadable):
        read_plain(garbage)


def test_the_beginning_of_a_long_pickle_is_read():
    """The exception contains the complete items of the dict, without the incomplete one."""
    document = {"status": "SUCCESS", "task_id": "x", "result": list(range(LIMIT)), "after": 1}

    for protocol in PROTOCOLS:
        with pytest.raises(TooManyOpcodes) as raised:
            read_plain(pickle.dumps(document, protocol))
        assert {**raised.value.beginning, "result": None} == {"status": "SUCCESS", "task_id": "x", "result": None}


def test_a_long_pickle_of_a_list_has_no_items():
    """The exception contains an empty dict if the pickle is a list."""
    with pytest.raises(TooManyOpcodes) as raised:
        read_plain(pickle.dumps(list(range(LIMIT))))

    assert raised.value.beginning == {}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_executes_nothing(protocol, tmp_path):
    """A pickle with an object that creates a file is decoded without creating the file."""
    bomb = tmp_path / "poisoned"
    document = {"status": "SUCCESS", "result": Touch(bomb), "task_id": "x"}

    status = decode(Snapshot(task_id="x", meta=pickle.dumps(document, protocol)))

    assert status.state == "succeeded"
    assert status.result is None
    assert not Path(bomb).exists()


def test_a_pickled_exception_is_read_from_its_traceback():
    """The type and message of an opaque exception come from its traceback."""
    meta = {
        "status": "FAILURE",
        "result": ValueError("bad"),
        "traceback": "Traceback (most recent call last):\nValueError: bad\n",
        "date_done": "2026-01-02T03:04:05+00:00",
        "task_id": "x",
    }

    status = decode(Snapshot(task_id="x", meta=pickle.dumps(meta)))

    assert (status.failure.type, status.failure.message) == ("ValueError", "bad")
    assert [diagnostic.code for diagnostic in status.diagnostics] == ["pickle"]


def test_numbers_as_keys_become_text():
    """The keys of a pickled dict read as JSON keys; numbers whose hashes collide cannot make the dict quadratic."""
    collisions = {str(factor * sys.hash_info.modulus): None for factor in range(1, 1_000)}

    assert read_plain(pickle.dumps({7: "a", 2.5: "b", True: "c", float("inf"): "d", 1 << 20_000: "e"})) == {
        "7": "a",
        "2.5": "b",
        True: "c",
        "null": "d",
        hex(1 << 20_000): "e",
    }
    assert read_plain(pickle.dumps({int(key): None for key in collisions})) == collisions


@pytest.mark.parametrize("position", [2**32, sys.hash_info.modulus, -1])
def test_a_memo_has_only_positions_of_four_bytes(position):
    """A larger position is invalid: positions whose hashes collide could make the memo quadratic."""
    assert read_plain(b"I1\np%d\n." % (2**32 - 1)) == 1
    with pytest.raises(NotReadable):
        read_plain(b"I1\np%d\n." % position)


def test_long_decimal_numbers_count_as_several_opcodes():
    """The conversion of a decimal number takes quadratic time."""
    pickled = b"(" + b"".join(b"I%s\n" % (b"9" * 4_000) for _ in range(100)) + b"l."

    with pytest.raises(TooManyOpcodes):
        read_plain(pickled)


@pytest.mark.parametrize("cut", [0, 1, 3, 40])
def test_a_cut_pickle_has_its_beginning(cut):
    """The complete items of a pickle that is cut are read."""
    pickled = pickle.dumps({"status": "SUCCESS", "result": "x" * 100})

    with pytest.raises(TooManyOpcodes) as raised:
        read_plain(pickled[: -50 - cut], is_cut=True)
    assert raised.value.beginning == {"status": "SUCCESS"}
    with pytest.raises(TooManyOpcodes) as raised:
        read_plain(b"", is_cut=True)
    assert raised.value.beginning == {}


@pytest.mark.parametrize(
    "opcodes",
    [
        b"ccelery.utils.serialization\nUnpickleableExceptionWrapper\n.",
        b"\x80\x04\x8c\x1acelery.utils.serialization\x8c\x1cUnpickleableExceptionWrapper\x93.",
    ],
)
def test_the_class_of_the_wrapper_is_no_value(opcodes):
    """The class that wraps exceptions is not plain data without its arguments."""
    assert read_plain(opcodes[:-1] + b"0I1\n.") == 1
    assert not isinstance(read_plain(opcodes), dict)


def test_the_state_of_an_object_is_ignored():
    """An object with a state is opaque, and a dict with one stays a dict."""
    assert read_plain(b"cos\nsystem\n}b.") is OPAQUE
    assert read_plain(b"}}b.") == {}
    assert read_plain(b"I1\n}b.") is OPAQUE
