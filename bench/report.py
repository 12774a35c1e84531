"""The tables of a benchmark, as printed and as stored in docs/performance.md."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.contenders import CONTENDERS
from bench.load import CONNECTIONS, Measured
from bench.memory import RELEASE, TASKS, Compared
from bench.pages import FEW, LIMIT, MANY
from bench.streams import STREAMS, StreamsMeasured
from tests.support.measured import machine, put_between_markers

#: our contender, the contender it is compared with, and the minimum ratio of their rates
TARGETS: Final = (
    ("get", "bare", 0.75),
    ("not_modified", "bare", 0.85),
    ("get_other", "bare", None),
    ("get", "flask", 1.8),
    ("get_other", "flask", None),
    ("get", "flower", 1.7),
    ("get", "fastapi", None),
    ("batch", "get", 8.0),
    ("post", "send_task", 0.8),
    ("post", "send_only", None),
)
#: maximum ratio of p99 to p50 of `GET /tasks/{id}`
MAX_TAIL: Final = 4.0
#: maximum ratio of the time of a page among many tasks to one among few
MAX_GROWTH: Final = 2.0
#: maximum memory of one stream, and maximum p99 of a plain read while all streams are open
MAX_KILOBYTES: Final = 50.0
MAX_READ_MS: Final = 100.0
#: maximum ratio of the memory per task to that of the release
MAX_MEMORY: Final = 0.60

_PACKAGES: Final = ("flask", "gunicorn", "gevent", "redis", "hiredis", "celery", "fastapi", "uvicorn", "flower")
Rounds = Mapping[str, Sequence[Measured]]


class Findings(NamedTuple):
    """The measurements of one run."""

    rounds: Rounds
    #: by the number of recorded tasks
    pages: Mapping[int, Sequence[Measured]]
    streams: StreamsMeasured
    #: None if the release is not available
    memory: Compared | None


def tables(found: Findings) -> str:
    """Return all tables as Markdown. A ratio is the median of the ratios of each round."""
    lines = [*_rates(found.rounds), *_ratios(found.rounds), *_pages(found.pages), *_streams(found.streams)]
    return "\n".join([*lines, *(memory_table(found.memory) if found.memory else ())])


def _rates(rounds: Rounds) -> list[str]:
    lines = ["| contender | requests/s | p50 ms | p99 ms |", "|---|--:|--:|--:|"]
    for name, found in rounds.items():
        rate, p50, p99 = (statistics.median(column) for column in zip(*found, strict=True))
        lines.append(f"| {CONTENDERS[name].title} | {rate:,.0f} | {p50:.1f} | {p99:.1f} |")
    return lines


def _ratios(rounds: Rounds) -> list[str]:
    lines = ["", "| ratio | result | lowest and highest round | target |", "|---|--:|--:|--:|"]
    for ours, other, wanted in TARGETS:
        pairs = zip(rounds[ours], rounds[other], strict=True)
        per_answer = CONTENDERS[ours].statuses / CONTENDERS[other].statuses
        ratios = [per_answer * one.requests_per_second / its.requests_per_second for one, its in pairs]
        title = f"{CONTENDERS[ours].title} : {CONTENDERS[other].title}"
        lines.append(_ratio_line(title, ratios, f"≥ {wanted}" if wanted else ""))
    tails = [measured.p99_ms / measured.p50_ms for measured in rounds["get"]]
    lines.append(_ratio_line(f"{CONTENDERS['get'].title}, p99 : p50", tails, f"< {MAX_TAIL:g}"))
    return lines


def _pages(pages: Mapping[int, Sequence[Measured]]) -> list[str]:
    few, many = (statistics.median(measured.p50_ms for measured in pages[count]) for count in (FEW, MANY))
    return [
        "",
        f"| a page of {LIMIT} failed tasks | p50 ms |",
        "|---|--:|",
        f"| {FEW:,} tasks recorded | {few:.1f} |",
        f"| {MANY:,} tasks recorded | {many:.1f} |",
        f"| ratio; target: ≤ {MAX_GROWTH:g} | {many / few:.2f} |",
    ]


def _streams(streams: StreamsMeasured) -> list[str]:
    return [
        "",
        f"| {STREAMS:,} event streams of one process, opened at the same instant | result | target |",
        "|---|--:|--:|",
        f"| opened | {streams.opened:,} | {STREAMS:,} |",
        f"| seconds until the last one had its first event | {streams.seconds:.1f} | |",
        f"| memory of each, KB | {streams.kilobytes_each:.1f} | < {MAX_KILOBYTES:g} |",
        f"| a plain read while they are open, p99 ms | {streams.read_p99_ms:.1f} | < {MAX_READ_MS:g} |",
    ]


def memory_table(memory: Compared) -> list[str]:
    """Return the lines of the table of memory per task."""
    lines = [
        "",
        f"| bytes of Redis per task, {TASKS:,} tasks | this version | {RELEASE} | ratio; target: ≤ {MAX_MEMORY:g} |",
        "|---|--:|--:|--:|",
    ]
    for case, (ours, theirs) in memory.items():
        for state, our_bytes, their_bytes in zip(ours._fields, ours, theirs, strict=True):
            lines.append(f"| {state}, {case} | {our_bytes:,.0f} | {their_bytes:,.0f} | {our_bytes / their_bytes:.2f} |")
    return lines


def _ratio_line(title: str, ratios: Sequence[float], wanted: str) -> str:
    return f"| {title} | {statistics.median(ratios):.2f} | {min(ratios):.2f} to {max(ratios):.2f} | {wanted} |"


def write(page: Path, found: Findings, *, seconds: int, redis_version: str) -> None:
    """Replace the text between the two markers of the page by machine and tables."""
    how = f"{len(found.rounds['get'])} rounds of {seconds} s each, {CONNECTIONS} connections, medians"
    measured = f"{machine(_PACKAGES)}, Redis {redis_version}; {how}."
    put_between_markers(page, "make bench", f"{measured}\n\n{tables(found)}")
