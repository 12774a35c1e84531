"""Log lines: one for each record, without control characters and credentials."""

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.server.log_format import FORMAT, LineFormatter

FORGED = "x\n[2026-01-02 03:04:05 +0000] [7] [ERROR] all is lost\r\x1b[31mred\x85\u2028\u202enext"
URL = "redis://:kanarienvogel@db:6379/0"


def formatted(message, *args, exc_info=None, stack=None):
    """Format a record as the server does."""
    record = logging.LogRecord("shop", logging.ERROR, "x.py", 1, message, args, exc_info, sinfo=stack)
    return LineFormatter(FORMAT).format(record)


def raised(error):
    """Raise an error, and return its `sys.exc_info`."""
    try:
        raise error
    except type(error):
        return sys.exc_info()


@given(st.text())
def test_any_text_is_one_line(text):
    """A message is one line for any text, also for text in its arguments."""
    for line in (formatted(text.replace("%", "%%")), formatted("asked for %s", text)):
        assert len(line.splitlines()) == 1
        assert not [character for character in line if ord(character) < 32 or 0x7F <= ord(character) < 0xA0]


def test_control_characters_are_escaped():
    """A control character is escaped and not dropped, so that an operator can read it."""
    assert formatted("%s", FORGED).endswith("all is lost\\r\\x1b[31mred\\x85\\u2028\\u202enext")


@pytest.mark.parametrize("text", [FORGED, URL])
def test_an_exception_is_indented(text):
    """Each line of an exception is indented, so that it cannot look like a record."""
    first, *others = formatted("failed", exc_info=raised(ValueError(text)), stack=f"Stack:\n{text}").split("\n")

    assert first.endswith("failed")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert not [line for line in others if "\x1b" in line or "\r" in line or "kanarienvogel" in line]


def test_credentials_are_redacted():
    """The secret part of a URL and of a key is redacted; the id of the key stays."""
    line = formatted("%s: %s", URL, "tsk_0123456789ab_kanarienvogel")

    assert "kanarienvogel" not in line
    assert "tsk_0123456789ab_" in line
