"""What Celery compresses is inflated within bounds, or named."""

import bz2
import lzma
import tracemalloc
import zlib

import brotli
import pytest
import zstandard
from task_status_service.status.stored.bounds import MAX_INFLATED_BYTES
from task_status_service.status.stored.compression import COMPRESSIONS, PREFIX, inflate, optional_module
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
    """Lay a body out as Celery does."""
    return PREFIX + content_type + b"\x00" + body


def code_of(value, **arguments):
    """Give the code that a value is unreadable with."""
    with pytest.raises(Unreadable) as raised:
        inflate(value, **arguments)
    return raised.value.code


def test_knows_every_compression_of_celery():
    """A content type more or less would be seen here."""
    assert COMPRESSIONS.keys() == COMPRESSORS.keys()


@every_compression
def test_inflates(content_type):
    """What went in comes out."""
    assert inflate(stored(content_type, COMPRESSORS[content_type](BODY))) == BODY


@every_compression
def test_inflates_what_is_just_not_too_large(content_type):
    """The bound itself is allowed."""
    body = COMPRESSORS[content_type](b"x" * MAX_INFLATED_BYTES)

    assert len(inflate(stored(content_type, body))) == MAX_INFLATED_BYTES


@every_compression
def test_refuses_one_byte_more(content_type):
    """Nothing above the bound is given."""
    body = COMPRESSORS[content_type](b"x" * (MAX_INFLATED_BYTES + 1))

    assert code_of(stored(content_type, body)) == "too_large"


@every_compression
def test_a_bomb_costs_no_more_than_the_bound(content_type):
    """256 MiB of zeros take at most four times the bound while they are refused."""
    bomb = stored(content_type, COMPRESSORS[content_type](bytes(256 * 1024 * 1024)))
    tracemalloc.start()
    try:
        assert code_of(bomb) == "too_large"
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4 * MAX_INFLATED_BYTES


@every_compression
@pytest.mark.parametrize("damage", [lambda body: body[:-3], lambda body: body[:0], lambda body: b"\xff" + body[1:]])
def test_names_damage(content_type, damage):
    """Cut off, empty, or not even begun as it should be."""
    assert code_of(stored(content_type, damage(COMPRESSORS[content_type](BODY)))) == "compressed_corrupt"


def test_names_a_compression_that_celery_does_not_have():
    """Also when there is no content type at all."""
    assert code_of(stored(b"application/x-snappy", BODY)) == "compressed_unknown"
    assert code_of(PREFIX) == "compressed_unknown"


def test_names_a_compression_without_its_library():
    """Brotli and zstandard are extras."""
    without = {**COMPRESSIONS, b"application/zstd": None}

    assert code_of(stored(b"application/zstd", BODY), compressions=without) == "compressed_unsupported"


def test_an_extra_that_is_not_installed():
    """It is None, so the service starts without it."""
    assert optional_module("task_status_no_such_module") is None
