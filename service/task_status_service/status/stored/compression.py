"""Inflate values compressed by `result_compression`, to at most `MAX_INFLATED_BYTES` and one block.

Celery stores NUL, `celery-compressed`, NUL, content type, NUL, body.
Source: celery/backends/base.py, kombu/compression.py.
"""

import bz2
import importlib
import lzma
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from task_status_service.status.stored.bounds import MAX_INFLATED_BYTES, MAX_XZ_MEMORY_BYTES, MAX_ZSTD_WINDOW_BYTES
from task_status_service.status.stored.diagnostics import Unreadable

PREFIX: Final = b"\x00celery-compressed\x00"

#: bytes of output requested from brotli at a time; it may return up to twice as many
_BROTLI_BLOCK_BYTES: Final = 64 * 1024
#: bytes of input passed to zstd at a time: its output cannot be limited, and 4 bytes can make 128 KiB
_ZSTD_INPUT_BYTES: Final = 16


class Decompressor(Protocol):
    """A decompressor of one stream, as `bz2.BZ2Decompressor`."""

    @property
    def eof(self) -> bool:
        """Return whether the end of the stream was reached."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Return at least `max_length` bytes, and at most one block more, unless the stream ends before."""
        ...


class Compression(msgspec.Struct, frozen=True):
    """A kind of stream: a function that opens one, and the errors of a damaged one."""

    open: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]


class _Brotli:
    def __init__(self, brotli: Any) -> None:
        self._stream = brotli.Decompressor()

    @property
    def eof(self) -> bool:
        return bool(self._stream.is_finished())

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        inflated = bytearray(self._stream.process(data, output_buffer_limit=_BROTLI_BLOCK_BYTES))
        while len(inflated) < max_length and not self.eof:
            block = self._stream.process(b"", output_buffer_limit=_BROTLI_BLOCK_BYTES)
            if not block:
                break
            inflated += block
        return bytes(inflated)


class _Zstd:
    def __init__(self, zstandard: Any) -> None:
        self._stream = zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES).decompressobj()

    @property
    def eof(self) -> bool:
        return bool(self._stream.eof)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        inflated = bytearray()
        for start in range(0, len(data), _ZSTD_INPUT_BYTES):
            inflated += self._stream.decompress(data[start : start + _ZSTD_INPUT_BYTES])
            if self.eof or len(inflated) >= max_length:
                break
        return bytes(inflated)


def optional_module(name: str) -> Any | None:
    """Import a module of the `compression` extra; return None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _brotli() -> Compression | None:
    brotli = optional_module("brotli")
    return brotli and Compression(lambda: _Brotli(brotli), (brotli.error,))


def _zstd() -> Compression | None:
    zstandard = optional_module("zstandard")
    return zstandard and Compression(lambda: _Zstd(zstandard), (zstandard.ZstdError,))


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY_BYTES)


#: content type -> compression; None if the library is not installed
COMPRESSIONS: Final[Mapping[bytes, Compression | None]] = {
    # kombu names the zlib format x-gzip
    b"application/x-gzip": Compression(zlib.decompressobj, (zlib.error,)),
    b"application/x-bz2": Compression(bz2.BZ2Decompressor, (OSError,)),
    b"application/x-lzma": Compression(_xz, (lzma.LZMAError,)),
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


def inflate(stored: bytes, compressions: Mapping[bytes, Compression | None] = COMPRESSIONS) -> bytes:
    """Return the body of a value that starts with `PREFIX`. Bytes after the end of the stream are ignored.

    Raises:
        Unreadable: `compressed_unknown`, `compressed_unsupported`, `compressed_corrupt` or `too_large`.
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
    stream = compression.open()
    try:
        inflated = stream.decompress(body, MAX_INFLATED_BYTES + 1)
    except compression.errors as error:
        raise Unreadable("compressed_corrupt") from error
    if len(inflated) > MAX_INFLATED_BYTES:
        raise Unreadable("too_large")
    if not stream.eof:
        raise Unreadable("compressed_corrupt")
    return inflated
