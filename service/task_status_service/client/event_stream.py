"""Server-sent events, as far as the API uses them: one data line per event."""

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import urllib3

Task = dict[str, Any]

#: the most bytes of one read from a stream
_CHUNK_BYTES: Final = 65_536


class Event(NamedTuple):
    """One event of a stream."""

    id: str
    task: Task


def read_events(response: urllib3.BaseHTTPResponse) -> Iterator[Event]:
    """Yield the status events of a response, as they arrive.

    Raises:
        ValueError: An event is not JSON.
    """
    fields: dict[bytes, bytes] = {}
    for line in _lines(response):
        if not line:
            if fields.get(b"event") == b"status" and b"data" in fields:
                yield Event(fields.get(b"id", b"").decode(), json.loads(fields[b"data"]))
            fields = {}
            continue
        name, _, value = line.partition(b":")
        fields[name] = value.removeprefix(b" ")


def _lines(response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """Yield the lines of a body as they arrive."""
    rest = b""
    while chunk := response.read1(_CHUNK_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.rstrip(b"\r") for line in lines)
