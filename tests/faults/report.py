"""The counts: what is printed, and what docs/reliability.md keeps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from support.measured import machine, put_between_markers

from faults.checker import Totals

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
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


def write(page: Path, counts: Sequence[Count], *, redis_version: str) -> None:
    """Put machine and counts between the page's two markers; the words around them stay."""
    measured = f"{machine(_PACKAGES)}, Redis {redis_version}."
    put_between_markers(page, "make faults", f"{measured}\n\n{table(counts)}")
