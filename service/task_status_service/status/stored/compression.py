"""Inflate values compressed by `result_compression`, block by block, up to the limit of a budget.

Celery stores NUL, `celery-compressed`, NUL, content type, NUL, body.
Source: celery/backends/base.py, kombu/compression.py.
"""

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from task_status_service.status.stored.bounds import MAX_XZ_MEMORY_BYTES, MAX_ZSTD_WINDOW_BYTES
from task_status_service.status.stored.budget import Budget
from task_status_service.status.stored.diagnostics import Unreadable

PREFIX: Final = b"\x00celery-compressed\x00"

#: bytes of output between two checks of the limit
_BLOCK_BYTES: Final = 64 * 1024
#: bytes of input passed to zstd at a time: its output cannot be limited, and 4 bytes can make 128 KiB
_ZSTD_INPUT_BYTES: Final = 64

#: inflates a stream block by block
Inflater = Callable[[bytes], Iterator[bytes]]


class Compression(msgspec.Struct, frozen=True):
    """A kind of stream: a function that inflates it, and the error of a damaged one."""

    inflate: Inflater
    error: type[Exception]


class _Damaged(Exception):
    """The stream ends early."""


class Inflated(NamedTuple):
    """The beginning of an inflated value."""

    data: bytes
    #: the value is longer
    is_cut: bool


def _zlib_blocks(data: bytes) -> Iterator[bytes]:
    stream = zlib.decompressobj()
    for start in range(0, len(data), _BLOCK_BYTES):
        part = data[start : start + _BLOCK_BYTES]
        while part and not stream.eof:
            yield stream.decompress(part, _BLOCK_BYTES)
            part = stream.unconsumed_tail
    yield stream.decompress(b"", _BLOCK_BYTES)
    if not stream.eof:
        raise _Damaged


def _blocks(stream: bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes) -> Iterator[bytes]:
    # In parts: each call moves the input that it has not read yet.
    for start in range(0, len(data), _BLOCK_BYTES):
        yield stream.decompress(data[start : start + _BLOCK_BYTES], _BLOCK_BYTES)
        while not (stream.eof or stream.needs_input):
            yield stream.decompress(b"", _BLOCK_BYTES)
        if stream.eof:
            return
    raise _Damaged


def _bz2_blocks(data: bytes) -> Iterator[bytes]:
    return _blocks(bz2.BZ2Decompressor(), data)


def _xz_blocks(data: bytes) -> Iterator[bytes]:
    return _blocks(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY_BYTES), data)


def _brotli_blocks(brotli: Any) -> Inflater:
    def blocks(data: bytes) -> Iterator[bytes]:
        stream = brotli.Decompressor()
        block = stream.process(data, output_buffer_limit=_BLOCK_BYTES)
        while block:
            yield block
            block = b"" if stream.is_finished() else stream.process(b"", output_buffer_limit=_BLOCK_BYTES)
        if not stream.is_finished():
            raise _Damaged

    return blocks


def _zstd_blocks(zstandard: Any) -> Inflater:
    def blocks(data: bytes) -> Iterator[bytes]:
        stream = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).decompressobj()
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            yield stream.decompress(data[start : start + _ZSTD_INPUT_BYTES])
            if stream.eof:
                return
        raise _Damaged

    return blocks


def optional_module(name: str) -> Any | None:
    """Import a module of the `compression` extra; return None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _brotli() -> Compression | None:
    brotli = optional_module("brotli")
    return brotli and Compression(_brotli_blocks(brotli), brotli.error)


def _zstd() -> Compression | None:
    zstandard = optional_module("zstandard")
    return zstandard and Compression(_zstd_blocks(zstandard), zstandard.ZstdError)


#: content type -> compression; None if the library is not installed
COMPRESSIONS: Final[Mapping[bytes, Compression | None]] = {
    # kombu names the zlib format x-gzip
    b"application/x-gzip": Compression(_zlib_blocks, zlib.error),
    b"application/x-bz2": Compression(_bz2_blocks, OSError),
    b"application/x-lzma": Compression(_xz_blocks, lzma.LZMAError),
    b"application/x-brotli": _brotli(),
    b"application/zstd": _zstd(),
}

#: the names under which kombu registers the same compressions (kombu/compression.py)
_ALIASES: Final[Mapping[bytes, bytes]] = {
    b"gzip": b"application/x-gzip",
    b"zlib": b"application/x-gzip",
    b"bzip2": b"application/x-bz2",
    b"bzip": b"application/x-bz2",
    b"brotli": b"application/x-brotli",
    b"lzma": b"application/x-lzma",
    b"xz": b"application/x-lzma",
    b"zstd": b"application/zstd",
    b"zstandard": b"application/zstd",
}


def inflate(stored: bytes, budget: Budget, compressions: Mapping[bytes, Compression | None] = COMPRESSIONS) -> Inflated:
    """Return the body of a value that starts with `PREFIX`, cut at the limit of the budget.

    Bytes after the end of the stream are ignored.

    Raises:
        Unreadable: `compressed_unknown`, `compressed_unsupported` or `compressed_corrupt`.
    """
    content_type, separator, body = stored[len(PREFIX) :].partition(b"\x00")
    if not separator:
        raise Unreadable("compressed_corrupt")
    content_type = _ALIASES.get(content_type, content_type)
    if content_type not in compressions:
        raise Unreadable("compressed_unknown")
    compression = compressions[content_type]
    if compression is None:
        raise Unreadable("compressed_unsupported")
    inflated = bytearray()
    limit = budget.limits.bytes
    try:
        for block in compression.inflate(body):
            inflated += block
            budget.spend(inflated_bytes=len(block))
            if len(inflated) > limit:
                return Inflated(bytes(memoryview(inflated)[:limit]), is_cut=True)
    except (_Damaged, compression.error) as error:
        raise Unreadable("compressed_corrupt") from error
    return Inflated(bytes(inflated), is_cut=False)
