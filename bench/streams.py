"""Thousands of event streams on one process: opened at the same instant, what each costs, what a plain read costs."""

import asyncio
import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bench.contenders import TASK_ID
from bench.processes import Server, running_server

STREAMS: Final = 5_000
#: plain reads that are made while all streams are open, one after the other
_READS: Final = 500
_PAUSE_SECONDS: Final = 0.01
_OPENED_SECONDS: Final = 60.0


class StreamsMeasured(NamedTuple):
    """What was found."""

    opened: int
    #: from the first connection to the first event of the last stream
    seconds: float
    kilobytes_each: float
    read_p99_ms: float


def measure_streams(redis_url: str, folder: Path) -> StreamsMeasured:
    """Open `STREAMS` streams at once, each of a task of its own, and read beside them."""
    environ = {"TASK_STATUS_REDIS_URL": redis_url, "TASK_STATUS_WATCHES_PER_CALLER": str(STREAMS)}
    arguments = ["task_status_service.cli", "serve"]
    with running_server("streams", arguments, environ=environ, folder=folder) as server:
        return asyncio.run(_measure(server))


async def _measure(server: Server) -> StreamsMeasured:
    # What the first requests load is no stream's.
    await _read_times(server.url, 50)
    before = server.memory_bytes
    began = time.monotonic()
    opening = [_open(server.url, f"/tasks/{TASK_ID}-{number}/events") for number in range(STREAMS)]
    opened = [stream for stream in await asyncio.gather(*opening) if stream is not None]
    seconds = time.monotonic() - began
    times = await _read_times(server.url, _READS)
    each = (server.memory_bytes - before) / max(1, len(opened))
    for stream in opened:
        stream.close()
    return StreamsMeasured(len(opened), seconds, each / 1024, 1000 * statistics.quantiles(times, n=100)[-1])


async def _open(url: str, path: str) -> asyncio.StreamWriter | None:
    """Open a stream and wait for its first event; None if it was refused."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    try:
        await asyncio.wait_for(reader.readuntil(b"event: status"), _OPENED_SECONDS)
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        writer.close()
        return None
    return writer


async def _read_times(url: str, count: int) -> list[float]:
    """Read a task again and again over one connection; give how long each read took, in seconds."""
    host, port = urlsplit(url).hostname, urlsplit(url).port
    reader, writer = await asyncio.open_connection(host, port)
    times = []
    for _ in range(count):
        began = time.monotonic()
        writer.write(f"GET /tasks/{TASK_ID} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        headers = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(headers.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        times.append(time.monotonic() - began)
        await asyncio.sleep(_PAUSE_SECONDS)
    writer.close()
    return times
