"""The table of measurements, as printed and as stored in docs/reliability.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from support.measured import machine, put_between_markers

from faults.checker import Totals

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
_PACKAGES: Final = ("celery", "kombu", "redis", "gunicorn", "gevent")


class Count(NamedTuple):
    """One row: the measurement, its result, and the target."""

    what: str
    found: str
    wanted: str


class Counter(Protocol):
    """A function that adds one row to the table."""

    def __call__(self, what: str, found: object, wanted: object = "") -> None: ...


def table(counts: Sequence[Count]) -> str:
    """Return the measurements as a Markdown table."""
    lines = ["| measurement | result | target |", "|---|--:|--:|"]
    lines += [f"| {count.what} | {count.found} | {count.wanted} |" for count in counts]
    return "\n".join(lines)


def sum_of(checked: Sequence[Totals]) -> list[Count]:
    """Return the rows about all scenarios together."""
    slowest = max((totals.slowest_seconds for totals in checked), default=0.0)
    return [
        Count("all scenarios together: responses", f"{sum(totals.answers for totals in checked):,}", ""),
        Count("- the slowest after", f"{slowest:.2f} s", "≤ 2 s"),
        Count("- statuses in these responses", f"{sum(totals.statuses for totals in checked):,}", ""),
        Count(
            "- of these older than an earlier one, or changed after `done`",
            str(sum(totals.regressions for totals in checked)),
            "0",
        ),
        Count("- broken promises", str(sum(totals.violations for totals in checked)), "0"),
    ]


def write(page: Path, counts: Sequence[Count], *, redis_version: str) -> None:
    """Replace the text between the two markers of the page by machine and measurements."""
    measured = f"{machine(_PACKAGES)}, Redis {redis_version}."
    put_between_markers(page, "make faults", f"{measured}\n\n{table(counts)}")
