"""Log lines that nobody else can write: one line a record, without control characters and without credentials.

What is logged quotes requests, exceptions and what Redis says. A line break in it would begin a line that looks like
one of ours, and an escape sequence would be obeyed by the terminal of whoever reads it.
"""

import logging
from types import TracebackType
from typing import Final

from task_status_service.redaction import redact

#: with the name of who says it, which for gunicorn goes without saying
FORMAT: Final = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
TIME_FORMAT: Final = "[%Y-%m-%d %H:%M:%S %z]"
#: of a line, in characters
MAX_CHARS: Final = 10_000

#: C0, DEL and C1, and what Unicode breaks lines by or turns text around with
_CONTROL: Final = {
    code: f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"  # noqa: PLR2004 - what two digits hold
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}

_SysExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Format a record as one line; what an exception says follows, indented, so that it is never taken for a line."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Give the line."""
        return _plain(super().formatMessage(record))

    def formatException(self, ei: _SysExcInfo) -> str:  # noqa: N802 - logging's name
        """Give the lines of an exception."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Give the lines of a stack."""
        return _indented(super().formatStack(stack_info))


def _plain(text: str) -> str:
    return redact(text[:MAX_CHARS]).translate(_CONTROL)


def _indented(text: str) -> str:
    # As a whole: a key may have several lines.
    lines = redact(text[: 10 * MAX_CHARS]).split("\n")
    return "\n".join(f"    {line.translate(_CONTROL)}" for line in lines)


def handle_all() -> None:
    """Write what anybody in this process warns of to the standard error, in such lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(FORMAT, TIME_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
