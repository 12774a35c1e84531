"""Measurements between two markers of a documentation page; the rest of the page does not change."""

import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def machine(packages: Iterable[str]) -> str:
    """Describe the measurement: day, machine, and the versions of some packages."""
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.+)", cpus)
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({model[1] if model else platform.machine()}), "
        f"Linux, Python {platform.python_version()}, {versions}"
    )


def put_between_markers(page: Path, command: str, text: str) -> None:
    """Replace the last measurement of a command, such as `make bench`, with a text."""
    begin, end = f"<!-- begin: {command} -->", f"<!-- end: {command} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
