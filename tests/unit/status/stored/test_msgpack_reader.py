"""msgpack is read value by value, as msgspec would decode it."""

import itertools
import sys
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.status.stored.msgpack_reader import NotReadable, TooManyValues
from task_status_service.status.stored.msgpack_reader import read_plain as read_limited

LIMIT = 10_000

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.text(min_size=30, max_size=300)
    | st.binary(max_size=300)
    | st.datetimes(timezones=st.just(UTC)),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text() | st.binary(), inner, max_size=20),
)


def read_plain(data, **how):
    """Read msgpack with a limit of values."""
    return read_limited(data, limit=LIMIT, **how)


@given(VALUES)
def test_values_are_read_as_msgspec_decodes_them(value):
    """Every value that msgspec encodes is read as msgspec decodes it."""
    packed = msgspec.msgpack.encode(value)

    assert read_plain(packed) == msgspec.msgpack.decode(packed)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_rejected(data):
    """Any bytes are read as msgspec decodes them, or rejected with one exception."""
    try:
        found = read_plain(data)
    except NotReadable:
        with pytest.raises((msgspec.MsgspecError, ValueError, TypeError)):
            msgspec.msgpack.decode(data)
    else:
        try:
            expected = msgspec.msgpack.decode(data, ext_hook=lambda code, _: f"<msgpack extension {code}>")
        except TypeError:
            # A container as a key, which msgspec cannot always decode.
            return
        # repr: NaN differs from itself, and keys may be numbers.
        assert type(found) is type(expected)
        if not isinstance(found, dict | list):
            assert repr(found) == repr(expected)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 255, 256, 65_535, 65_536])
def test_every_length_is_read(size):
    """Texts, bytes and extensions of every form of their length are read."""
    for value in ("x" * size, b"x" * size):
        assert read_plain(msgspec.msgpack.encode([value, 1])) == [value, 1]
    extension = msgspec.msgpack.Ext(5, b"x" * size)
    assert read_plain(msgspec.msgpack.encode([extension, 1])) == ["<msgpack extension 5>", 1]


@pytest.mark.parametrize("count", [15, 16, 2_000])
def test_every_count_is_read(count):
    """Arrays and maps of every form of their count are read."""
    for value in (list(range(count)), {str(number): number for number in range(count)}):
        assert read_plain(msgspec.msgpack.encode(value)) == value
    assert read_plain(b"\xdd\x00\x00\x00\x02\x01\x02") == [1, 2]
    assert read_plain(b"\xdf\x00\x00\x00\x01\xa1a\x02") == {"a": 2}


def test_keys_read_as_in_json():
    """Numbers that are keys become text, other scalars stay, and a key that is a container is omitted."""
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    packed = b"\x87\x01\xa1a" + b"\xcb\x3f\xf8" + bytes(6) + b"\xa1b" + b"\xc3\xa1c" + b"\xc0\xa1d"
    packed += b"\x91\x01\xa1e" + b"\x80\xa1f" + msgspec.msgpack.encode(moment) + b"\xa1g"

    assert read_plain(packed) == {"1": "a", "1.5": "b", True: "c", None: "d", moment: "g"}


def test_arrays_as_keys_are_not_hashed():
    """Arrays of integers can have equal hashes, although each integer has 64 bits: such keys are omitted."""
    modulus = sys.hash_info.modulus
    numbers = [factor * modulus for factor in range(8)]
    keys = list(itertools.islice(itertools.product(numbers, repeat=4), 2_000))
    assert len({hash(key) for key in keys}) == 1
    packed = b"\xde" + len(keys).to_bytes(2, "big")
    packed += b"".join(msgspec.msgpack.encode(list(key)) + b"\xc0" for key in keys)

    assert read_limited(packed, limit=20_000) == {}


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x91", b"\xa2a", b"\xa1\xff", b"\x01\x02", b"\xdd\xff\xff\xff\xff", b"\xdc", b"\xd9", b"\xc7"],
)
def test_invalid_bytes_raise_one_exception(data):
    """Bytes that end early, follow the value or have no meaning raise `NotReadable`."""
    with pytest.raises(NotReadable):
        read_plain(data)


@pytest.mark.parametrize(
    ("data", "beginning"),
    [
        (b"\x82\xa1a\x01\xa1b\xdd\x00\xff\xff\xff" + bytes(LIMIT), {"a": 1}),
        (b"\xdd\x00\xff\xff\xff" + bytes(LIMIT), {}),
    ],
)
def test_the_beginning_of_a_long_value_is_read(data, beginning):
    """The exception contains the complete items of the outermost map."""
    with pytest.raises(TooManyValues) as raised:
        read_plain(data)
    assert raised.value.beginning == beginning


@pytest.mark.parametrize("end", range(1, 12))
def test_a_cut_value_has_its_beginning(end):
    """The complete items of a value that is cut are read."""
    packed = msgspec.msgpack.encode({"a": 1, "b": [2, "text"]})

    with pytest.raises(TooManyValues) as raised:
        read_plain(packed[:end], is_cut=True)
    assert raised.value.beginning == ({"a": 1} if end >= 4 else {})
