"""Compressed values are inflated within limits, or rejected with a code."""

import bz2
import lzma
import tracemalloc
import zlib

import brotli
import kombu.compression
import pytest
import zstandard
from task_status_service.status.stored.bounds import MAX_STORED_BYTES
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.compression import COMPRESSIONS, PREFIX, Inflated, optional_module
from task_status_service.status.stored.compression import inflate as inflate_within
from task_status_service.status.stored.diagnostics import Unreadable

COMPRESSORS = {
    b"application/x-gzip": zlib.compress,
    b"application/x-bz2": bz2.compress,
    b"application/x-lzma": lzma.compress,
    b"application/x-brotli": lambda data: brotli.compress(data, quality=5),
    b"application/zstd": zstandard.ZstdCompressor().compress,
}
BODY = b'{"status": "SUCCESS"}' * 1000

every_compression = pytest.mark.parametrize("content_type", COMPRESSORS)


def stored(content_type, body):
    """Return a compressed body in Celery's format."""
    return PREFIX + content_type + b"\x00" + body


def inflate(value, **arguments):
    """Return the inflated value, or its beginning."""
    return inflate_within(value, Budget(), **arguments)


def code_of(value, **arguments):
    """Return the code with which a value is rejected."""
    with pytest.raises(Unreadable) as raised:
        inflate(value, **arguments)
    return raised.value.code


def test_every_compression_of_celery_is_supported():
    """The content types are exactly those of the compressors in this test."""
    assert COMPRESSIONS.keys() == COMPRESSORS.keys()


@every_compression
def test_a_compressed_body_is_inflated(content_type):
    """An inflated body equals the body before compression."""
    assert inflate(stored(content_type, COMPRESSORS[content_type](BODY))) == Inflated(BODY, is_cut=False)


@every_compression
def test_a_body_of_the_maximum_size_is_inflated(content_type):
    """A body of exactly `MAX_STORED_BYTES` is valid."""
    body = COMPRESSORS[content_type](b"x" * MAX_STORED_BYTES)

    assert inflate(stored(content_type, body)) == Inflated(b"x" * MAX_STORED_BYTES, is_cut=False)


@every_compression
def test_a_body_above_the_maximum_size_is_cut(content_type):
    """A body of one byte more than `MAX_STORED_BYTES` is cut."""
    body = COMPRESSORS[content_type](b"x" * (MAX_STORED_BYTES + 1))

    assert inflate(stored(content_type, body)) == Inflated(b"x" * MAX_STORED_BYTES, is_cut=True)


@every_compression
def test_a_bomb_costs_no_more_than_the_bound(content_type):
    """The beginning of 64 MiB of zeros takes less than four times the maximum size of memory."""
    bomb = stored(content_type, COMPRESSORS[content_type](bytes(64 * 1024 * 1024)))
    tracemalloc.start()
    try:
        assert inflate(bomb).is_cut
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4 * MAX_STORED_BYTES


@every_compression
@pytest.mark.parametrize("damage", [lambda body: body[:-3], lambda body: body[:0], lambda body: b"\xff" + body[1:]])
def test_a_damaged_body_is_rejected(content_type, damage):
    """A truncated body, an empty one, and one with an invalid start are corrupt."""
    assert code_of(stored(content_type, damage(COMPRESSORS[content_type](BODY)))) == "compressed_corrupt"


def test_an_unknown_compression_is_rejected():
    """A content type that Celery does not use, or an empty one, is unknown."""
    assert code_of(stored(b"application/x-snappy", BODY)) == "compressed_unknown"
    assert code_of(stored(b"", BODY)) == "compressed_unknown"


@pytest.mark.parametrize("value", [PREFIX, PREFIX + b"application/x-gzip"])
def test_a_value_without_a_body_is_corrupt(value):
    """A value that ends after the marker or the content type is corrupt."""
    assert code_of(value) == "compressed_corrupt"


def test_kombus_other_names_are_read():
    """Each name under which kombu registers a compression is read."""
    for alias, content_type in kombu.compression._aliases.items():  # noqa: SLF001 - the list has no public name
        assert inflate(stored(alias.encode(), COMPRESSORS[content_type.encode()](BODY))).data == BODY


def test_a_compression_without_its_library_is_unsupported():
    """Brotli and zstandard are optional dependencies."""
    without = {**COMPRESSIONS, b"application/zstd": None}

    assert code_of(stored(b"application/zstd", BODY), compressions=without) == "compressed_unsupported"


def test_a_missing_optional_module_is_none():
    """The service starts without an optional module that is not installed."""
    assert optional_module("task_status_no_such_module") is None
