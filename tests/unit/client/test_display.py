"""No untrusted text controls the terminal."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from task_status_service.client.display import BarDisplay, LineDisplay, failure_of, note_of, plain, to_json

from .scripted import task

HOSTILE = "\x1b]0;title\x07[bold red]x[/] \x9b31m\u202e{state}\n"


@given(st.text())
def test_plain_text_is_one_printable_line(text):
    """Any text becomes one printable line of at most 200 characters."""
    assert plain(text).isprintable()
    assert len(plain(text)) <= 200


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_is_printable_and_keeps_its_value(value):
    """Any JSON value becomes one printable line that parses to the same value."""
    assert to_json(value).isprintable()
    assert json.loads(to_json(value)) == value


def test_json_keeps_printable_characters():
    """Printable characters outside ASCII are not escaped."""
    assert to_json({"grüße": "日本"}) == '{"grüße": "日本"}'


@pytest.mark.parametrize("force_terminal", [True, False])
def test_bar_escapes_hostile_text(force_terminal):
    """Names and messages reach the terminal without markup, format fields or control characters."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=force_terminal, width=300, color_system=None)
    with BarDisplay(console) as bar:
        for percent in (None, 30, 100):
            bar.show(task(name=HOSTILE, progress={"percent": percent, "message": HOSTILE, "stage": None}))
        bar.show(task("succeeded"))

    shown = written.getvalue()
    assert "\x1b]" not in shown
    assert "\x9b" not in shown
    assert "\x07" not in shown
    assert "\u202e" not in shown
    assert "succeeded" in shown
    if force_terminal:
        assert "[bold red]x[/]" in shown
        assert "{state}" in shown


def test_log_has_one_line_per_change(capsys):
    """A status that changes nothing writes no line."""
    with LineDisplay() as lines:
        for percent in (10, 10, 20):
            lines.show(task(progress={"percent": percent, "message": HOSTILE, "stage": None}))
        lines.show(task("succeeded"))

    shown = capsys.readouterr().err
    assert [line.partition("\ufffd")[0].strip() for line in shown.splitlines()] == [
        "running 10%",
        "running 20%",
        "succeeded",
    ]


def test_notes_and_failures():
    """The note of a task is its progress message, its lost worker, or the reason of its retry."""
    failure = {"kind": "exception", "type": "ValueError", "message": "boom"}
    assert note_of(task(progress={"percent": None, "message": None, "stage": "rows"})) == "rows"
    assert note_of(task(liveness="lost")) == "(worker lost)"
    assert note_of(task("retrying", failure=failure)) == "after ValueError: boom"
    assert failure_of(task("failed", failure=failure)) == "ValueError: boom"
    assert failure_of(task("failed", failure={"kind": "worker_lost", "type": None, "message": ""})) == "worker_lost"
    assert failure_of(task()) == ""
