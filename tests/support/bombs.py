"""Stored values that cost a reader as much as possible, from a seeded generator.

Every serializer, compression and shape, in sizes within the limits of the service and beyond them.
"""

import bz2
import itertools
import json
import lzma
import pickle
import random
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import brotli
import msgspec
import zstandard

PREFIX: Final = b"\x00celery-compressed\x00"
#: hashes of integers are modulo this number
MODULUS: Final = sys.hash_info.modulus
#: weights of a result in bytes of JSON, from within the limits to beyond them
SIZES: Final = (2_000, 20_000, 60_000, 300_000, 900_000, 1_500_000, 4_000_000, 9_000_000)


def _many(item: str) -> Callable[[int], bytes]:
    """Return a function that repeats an item in a JSON list of about a size."""
    return lambda size: b"[%s]" % b",".join([item.encode()] * max(1, size // (len(item) + 1)))


def _deep(size: int) -> bytes:
    depth = 40 + size % 160
    return _many("[" * depth + "]" * depth)(size)


def _wide(size: int) -> bytes:
    return b"{%s}" % b",".join(b'"k%d":0' % number for number in range(size // 10))


def _text(size: int) -> bytes:
    return b'"%s"' % random.Random(size).randbytes(size // 2).hex().encode()  # noqa: S311 - not a secret


def _secrets(size: int) -> bytes:
    return _many('"password=hunter2 /etc/passwd eyJhbGci.eyJzdWIi"')(size)


#: shape -> a function that returns a result of about a size, as JSON
SHAPES: Final[Mapping[str, Callable[[int], bytes]]] = {
    "deep": _deep,
    "wide": _wide,
    "objects": _many("{}"),
    "lists": _many("[]"),
    "numbers": _many("1"),
    "fractions": _many("1.5e3"),
    "texts": _many('"a"'),
    "rows": _many('{"id":1,"name":"abc","ok":true}'),
    "typed": _many('{"__type__":"uuid","__value__":{"hex":"00000000000000000000000000000000"}}'),
    "digits": _many("9" * 900),
    "more digits": _many("9" * 1_100),
    "escapes": _many('"\\u0105\\n\\ud83d\\ude00"'),
    "text": _text,
    "secrets": _secrets,
}


def _json(state: str, result: bytes) -> bytes:
    return b'{"status": "%s", "result": %s, "traceback": null, "children": [], "task_id": "x"}' % (
        state.encode(),
        result,
    )


def _children(state: str, result: bytes) -> bytes:
    tree = _many('[["c", null], null]')(len(result))
    return b'{"status": "%s", "result": null, "traceback": null, "children": %s}' % (state.encode(), tree)


def _yaml(state: str, result: bytes) -> bytes:
    # A JSON value is also a YAML value; yaml.dump would take minutes.
    return b"result: %s\nstatus: %s\n" % (result, state.encode())


def _colliding_yaml(state: str, result: bytes) -> bytes:
    keys = b"".join(b"  %d: 1\n" % (number * MODULUS) for number in range(1, 1 + len(result) // 24))
    return b"result:\n%sstatus: %s\n" % (keys, state.encode())


def _short(result: bytes) -> Any:
    """Return the result with long integers as text: msgpack has 64 bits."""
    return json.loads(result, parse_int=lambda digits: digits if len(digits) > 18 else int(digits))


def _msgpack(state: str, result: bytes) -> bytes:
    return msgspec.msgpack.encode({"status": state, "result": _short(result), "task_id": "x"})


def _colliding_msgpack(state: str, result: bytes) -> bytes:
    tuples = itertools.islice(itertools.product([factor * MODULUS for factor in range(8)], repeat=5), len(result) // 48)
    items = [msgspec.msgpack.encode(list(key)) + b"\xc0" for key in tuples]
    return (
        b"\x82\xa6status" + msgspec.msgpack.encode(state) + b"\xa6result\xdf" + len(items).to_bytes(4) + b"".join(items)
    )


def _pickle(protocol: int) -> Callable[[str, bytes], bytes]:
    return lambda state, result: pickle.dumps({"status": state, "result": json.loads(result)}, protocol)


def _colliding_pickle(state: str, result: bytes) -> bytes:
    # As opcodes: the dict itself would take minutes.
    items = b"".join(pickle.dumps(number * MODULUS, 2)[2:-1] + b"N" for number in range(1, 1 + len(result) // 12))
    return b"\x80\x04}(\x8c\x06status" + pickle.dumps(state, 2)[2:-1] + b"\x8c\x06result}(" + items + b"uu."


def _colliding_memo(state: str, result: bytes) -> bytes:
    puts = b"".join(b"p%d\n" % (number * MODULUS) for number in range(len(result) // 24))
    return b"\x80\x04}(\x8c\x06status" + pickle.dumps(state, 2)[2:-1] + b"\x8c\x06resultN" + puts + b"u."


#: serializer -> a function of a state and a result in JSON
SERIALIZERS: Final[Mapping[str, Callable[[str, bytes], bytes]]] = {
    "json": _json,
    "json children": _children,
    "yaml": _yaml,
    "yaml collisions": _colliding_yaml,
    "msgpack": _msgpack,
    "msgpack collisions": _colliding_msgpack,
    "pickle": _pickle(4),
    "pickle 0": _pickle(0),
    "pickle collisions": _colliding_pickle,
    "pickle memo": _colliding_memo,
}


def _compressed(content_type: bytes, compress: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: PREFIX + content_type + b"\x00" + compress(data)


_GZIP: Final = _compressed(b"application/x-gzip", lambda data: zlib.compress(data, 1))

#: compression -> a function of the serialized value
COMPRESSIONS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "plain": bytes,
    "gzip": _GZIP,
    "bzip2": _compressed(b"application/x-bz2", lambda data: bz2.compress(data, 1)),
    "xz": _compressed(b"application/x-lzma", lambda data: lzma.compress(data, preset=0)),
    "brotli": _compressed(b"application/x-brotli", lambda data: brotli.compress(data, quality=1)),
    "zstd": _compressed(b"application/zstd", zstandard.ZstdCompressor(level=1).compress),
    "gzip of gzip": lambda data: _GZIP(_GZIP(data)),
}
#: what is quick to generate also in the largest sizes; the others are beyond the limits of the service before
_QUICK: Final = frozenset({"json", "plain", "gzip", "brotli", "zstd"})
_MAX_SLOW_SIZE: Final = 600_000
_STATES: Final = ("SUCCESS", "PROGRESS", "FAILURE", "RETRY")


def bombs(count: int, *, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the bytes of each value: all combinations in turn, in random sizes and states."""
    chosen = random.Random(seed)  # noqa: S311 - not a secret
    combinations = list(itertools.product(SERIALIZERS, COMPRESSIONS, SHAPES))
    chosen.shuffle(combinations)
    for serializer, compression, shape in itertools.islice(itertools.cycle(combinations), count):
        state, size = chosen.choice(_STATES), chosen.choice(SIZES)
        if serializer not in _QUICK or compression not in _QUICK:
            size = min(size, _MAX_SLOW_SIZE)
        stored: Any = COMPRESSIONS[compression](SERIALIZERS[serializer](state, SHAPES[shape](size)))
        yield f"{serializer}, {compression}, {shape}, {size} bytes, {state}", stored
