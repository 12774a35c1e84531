"""The counts: what is printed, and what docs/reliability.md keeps."""

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from faults.checker import Totals

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_BEGIN: Final = "<!-- begin: make faults -->"
_END: Final = "<!-- end: make faults -->"
_PACKAGES: Final = ("celery", "kombu", "redis", "gunicorn", "gevent")


class Count(NamedTuple):
    """Say what was counted, how many there were, and how many there were to be."""

    what: str
    found: str
    wanted: str


class Counter(Protocol):
    """Puts one row into the table."""

    def __call__(self, what: str, found: object, wanted: object = "") -> None: ...


def table(counts: Sequence[Count]) -> str:
    """Give the counts as Markdown."""
    lines = ["| what | found | wanted |", "|---|--:|--:|"]
    lines += [f"| {count.what} | {count.found} | {count.wanted} |" for count in counts]
    return "\n".join(lines)


def sum_of(checked: Sequence[Totals]) -> list[Count]:
    """Give the rows about all scenarios together."""
    slowest = max(totals.slowest_seconds for totals in checked)
    return [
        Count("all scenarios together: answers", f"{sum(totals.answers for totals in checked):,}", ""),
        Count("- the slowest after", f"{slowest:.2f} s", "≤ 2 s"),
        Count("- statuses that they told", f"{sum(totals.statuses for totals in checked):,}", ""),
        Count(
            "- of these behind one that was told before, or changed after `done`",
            str(sum(totals.regressions for totals in checked)),
            "0",
        ),
        Count("- promises that were not kept", str(sum(totals.violations for totals in checked)), "0"),
    ]


def machine() -> str:
    """Say what it was measured on."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.+)", cpus)
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
        f"Linux, Python {platform.python_version()}, {packages}"
    )


def write(page: Path, counts: Sequence[Count], *, redis_version: str) -> None:
    """Put machine and counts between the page's two markers; the words around them stay."""
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    measured = f"{machine()}, Redis {redis_version}."
    page.write_text(f"{before}{_BEGIN}\n\n{measured}\n\n{table(counts)}\n\n{_END}{after}", encoding="utf-8")
