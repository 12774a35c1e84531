"""wrk: put a server under load, and parse the report."""

import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from bench.processes import LOAD_CORE, on_core

CONNECTIONS: Final = 16

_UNITS_MS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class Measured(NamedTuple):
    """The results of one round."""

    requests_per_second: float
    p50_ms: float
    p99_ms: float


def measure(url: str, *, seconds: int, headers: tuple[str, ...] = (), script: Path | None = None) -> Measured:
    """Load a URL over 16 connections.

    Raises:
        RuntimeError: An answer was an error, or wrk reported nothing.
    """
    command = on_core(LOAD_CORE, "wrk", "--threads", "1", "--connections", str(CONNECTIONS))
    command += ["--duration", f"{seconds}s", "--timeout", "5s", "--latency"]
    for header in headers:
        command += ["--header", header]
    if script is not None:
        command += ["--script", str(script)]
    report = subprocess.run([*command, url], capture_output=True, text=True, check=True, timeout=seconds + 20).stdout  # noqa: S603  # our own command
    if "Non-2xx" in report or "Socket errors" in report:
        raise RuntimeError(f"{url} answered with errors:\n{report}")
    return Measured(
        requests_per_second=float(_found(r"Requests/sec:\s+([\d.]+)", report)[0]),
        p50_ms=_milliseconds(*_found(r"50%\s+([\d.]+)(us|ms|s)", report)),
        p99_ms=_milliseconds(*_found(r"99%\s+([\d.]+)(us|ms|s)", report)),
    )


def _found(pattern: str, report: str) -> tuple[str, ...]:
    match = re.search(pattern, report)
    if match is None:
        raise RuntimeError(f"The report of wrk has no match for {pattern}:\n{report}")
    return match.groups()


def _milliseconds(number: str, unit: str) -> float:
    return float(number) * _UNITS_MS[unit]
