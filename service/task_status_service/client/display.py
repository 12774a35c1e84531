"""Output of the client commands: results on stdout, everything else on stderr.

Task names, messages and failures are untrusted text: no control character and no markup in them reaches the terminal.
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

from task_status_service.client.event_stream import Task

_STYLES: Final = {"succeeded": "green", "failed": "red", "canceled": "yellow", "expired": "yellow"}
#: the most characters of one text
_MAX_CHARACTERS: Final = 200
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"


def plain(value: object) -> str:
    """Return a text as one line, without control characters."""
    text = " ".join(str(value).split())
    shown = "".join(letter if letter.isprintable() else _REPLACEMENT for letter in text[: _MAX_CHARACTERS + 1])
    return shown if len(shown) <= _MAX_CHARACTERS else f"{shown[: _MAX_CHARACTERS - 1]}…"


def to_json(value: object) -> str:
    """Return JSON as one line, with every unprintable character escaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[^ -~]", lambda found: found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1], text)


def put_json(value: object) -> None:
    """Write one JSON document to stdout, as one line, and flush it."""
    click.echo(to_json(value))
    sys.stdout.flush()


def put_table(titles: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write rows to stdout: as a table to a terminal, else as lines with tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(plain(cell) for cell in row))
        return
    table = Table(box=None, pad_edge=False)
    *names, last = titles
    for name in names:
        table.add_column(name, no_wrap=True)
    # Only this column may wrap.
    table.add_column(last)
    for row in rows:
        table.add_row(*(Text(plain(cell), style=_STYLES.get(str(cell), "")) for cell in row))
    Console().print(table)


def percent_of(task: Task) -> str:
    """Return the progress of a task in percent; empty if the task reports none."""
    percent = (task["progress"] or {}).get("percent")
    return "" if percent is None else f"{percent:.0f}%"


def note_of(task: Task) -> str:
    """Return the last progress message of a task, or the reason why it waits."""
    progress: Mapping[str, Any] = task["progress"] or {}
    message = plain(progress.get("message") or progress.get("stage") or "")
    if task["liveness"] in ("stalled", "lost"):
        return f"(worker {task['liveness']}) {message}".strip()
    if task["state"] == "retrying" and task["failure"]:
        return plain(f"after {failure_of(task)}")
    return message


def failure_of(task: Task) -> str:
    """Return the failure of a task as one line."""
    failure = task["failure"] or {}
    return plain(": ".join(filter(None, (failure.get("type"), failure.get("message")))) or failure.get("kind") or "")


class Display(Protocol):
    """Display of a task while it changes."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def show(self, task: Task) -> None:
        """Show a status."""
        ...


class JsonDisplay:
    """One line of JSON for each status, for scripts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no resource is open."""

    def show(self, task: Task) -> None:
        """Write a status as one line of JSON."""
        put_json(task)


class LineDisplay:
    """One line of text for each change, for a stderr that is not a terminal."""

    def __init__(self) -> None:
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing: no resource is open."""

    def show(self, task: Task) -> None:
        """Write a line, unless it equals the last one."""
        line = " ".join(filter(None, (task["state"], percent_of(task), note_of(task))))
        if line != self._last:
            click.echo(line, err=True)
            self._last = line


class BarDisplay:
    """A progress bar."""

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
        """Move the bar; without a percentage, only show that the task is active."""
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
        # rich animates a bar without a total: only while the task is active.
        total = 100 if percent is not None or task["done"] else None
        self._progress.update(self._bar, total=total, completed=percent or 0, refresh=True, **fields)


def display_for(*, as_json: bool) -> Display:
    """Return the display for scripts, for a terminal or for a log."""
    if as_json:
        return JsonDisplay()
    return BarDisplay() if sys.stderr.isatty() else LineDisplay()
