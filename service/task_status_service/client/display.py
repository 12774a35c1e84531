"""What a person sees, and what a script reads: results on stdout, all else on stderr.

Task names, messages and failures are somebody else's text: nothing in them reaches the terminal as a control character
or as markup.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from task_status_service.client.api_client import Task

_STYLES: Final = {"succeeded": "green", "failed": "red", "canceled": "yellow", "expired": "yellow"}
#: the longest text of one line
_LONGEST: Final = 200
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def plain(value: object) -> str:
    """Give a text in one line without anything that a terminal would obey."""
    text = " ".join(str(value).split())
    shown = "".join(letter if letter.isprintable() else _REPLACEMENT for letter in text[: _LONGEST + 1])
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def to_json(value: object) -> str:
    """Write JSON in one line, readable, with all that does not print escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[^ -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def put_json(value: object) -> None:
    """Write one JSON document to stdout, as one line, at once."""
    click.echo(to_json(value))
    sys.stdout.flush()


def put_table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows to stdout: a table for a terminal, else lines with tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(plain(cell) for cell in row))
        return
    table = Table(box=None, pad_edge=False)
    *names, last = titles
    for name in names:
        table.add_column(name, no_wrap=True)
    # The one that gives way.
    table.add_column(last)
    for row in rows:
        table.add_row(*(Text(plain(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    Console().print(table)


def percent_of(task: Task) -> str:
    """Say how far a task is; empty if it does not tell."""
    percent = (task["progress"] or {}).get("percent")
    return "" if percent is None else f"{percent:.0f}%"


def note_of(task: Task) -> str:
    """Say what a task said last, or why it waits."""
    progress: Mapping[str, Any] = task["progress"] or {}
    said = plain(progress.get("message") or progress.get("stage") or "")
    if task["liveness"] in ("stalled", "lost"):
        return f"(worker {task['liveness']}) {said}".strip()
    if task["state"] == "retrying" and task["failure"]:
        return plain(f"after {failure_of(task)}")
    return said


def failure_of(task: Task) -> str:
    """Say in a line what a task died of."""
    failure = task["failure"] or {}
    return plain(": ".join(filter(None, (failure.get("type"), failure.get("message")))) or failure.get("kind") or "")


class Display(Protocol):
    """Show a task that changes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, task: Task) -> None:
        """Show the present status."""
        ...


class JsonDisplay:
    """Write each status as a line of JSON, for scripts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def show(self, task: Task) -> None:
        """Write a status."""
        put_json(task)


class LineDisplay:
    """Write a line whenever there is something new to say, where stderr is no terminal."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def show(self, task: Task) -> None:
        """Write a line, unless it says what the last one did."""
        line = " ".join(filter(None, (task["state"], percent_of(task), note_of(task))))
        if line != self._last:
            click.echo(line, err=True)
            self._last = line


class BarDisplay:
    """Show a bar that moves."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[name]}", markup=False),
            TextColumn("{task.fields[state]}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[percent]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console or Console(stderr=True),
        )
        self._bar: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, task: Task) -> None:
        """Move the bar; without a percentage it only tells that something goes on."""
        percent = (task["progress"] or {}).get("percent")
        if task["done"] and task["successful"]:
            percent = 100
        fields: dict[str, Any] = {
            "name": plain(task["name"] or task["id"]),
            "state": task["state"],
            "percent": percent_of(task),
            "note": note_of(task),
        }
        if self._bar is None:
            self._bar = self._progress.add_task("", total=None, **fields)
        # A bar without a total pulses; that of a task that is over stands.
        total = 100 if percent is not None or task["done"] else None
        self._progress.update(self._bar, total=total, completed=percent or 0, refresh=True, **fields)


def display_for(*, as_json: bool) -> Display:
    """Choose how to show a task that changes."""
    if as_json:
        return JsonDisplay()
    return BarDisplay() if sys.stderr.isatty() else LineDisplay()
