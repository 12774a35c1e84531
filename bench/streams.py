"""Thousands of event streams on one process: their opening time, their memory, and the latency of other reads."""

import asyncio
import statistics
import time
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from bench.contenders import TASK_ID
from bench.processes import Server, running_server

STREAMS: Final = 5_000
#: sequential plain reads while all streams are open
_READS: Final = 500
_PAUSE_SECONDS: Final = 0.01
_OPENED_SECONDS: Final = 60.0


class StreamsMeasured(NamedTuple):
    """The results of one run."""

    opened: int
    #: from the first connection to the first event of the last stream
    seconds: float
    kilobytes_each: float
    read_p99_ms: float


def measure_streams(redis_url: str, folder: Path) -> StreamsMeasured:
    """Open `STREAMS` streams at once, each of another task, and measure plain reads beside them."""
    environ = {"TASK_STATUS_REDIS_URL": redis_url, "TASK_STATUS_WATCHES_PER_CALLER": str(STREAMS)}
    arguments = ["task_status_service.cli", "serve"]
    with running_server("streams", arguments, environ=environ, folder=folder) as server:
        return asyncio.run(_measure(server))


async def _measure(server: Server) -> StreamsMeasured:
    # The first requests load code: its memory does not belong to the streams.
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
    """Open a stream and wait for its first event; return None on failure."""
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
    """Read a task repeatedly over one connection; return the duration of each read in seconds."""
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
