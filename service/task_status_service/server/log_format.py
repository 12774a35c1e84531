"""Safe log lines: one line for each record, without control characters and credentials.

Log messages quote requests, exceptions and replies of Redis. A line break in a quote would start a forged log line, and
a terminal would execute an escape sequence.
"""

import logging
from types import TracebackType
from typing import Final

from task_status_service.redaction import redact

#: format of the other libraries; gunicorn's lines need no logger name
FORMAT: Final = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
TIME_FORMAT: Final = "[%Y-%m-%d %H:%M:%S %z]"
#: limit of a line, in characters
MAX_CHARS: Final = 10_000

#: C0, DEL, C1, and the line separators and bidirectional controls of Unicode, each -> its escape
_CONTROL: Final = {
    code: f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"  # noqa: PLR2004 - what two digits hold
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
} | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}

_SysExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Format a record as one line; an exception follows, indented, so that it cannot look like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line."""
        return _plain(super().formatMessage(record))

    def formatException(self, ei: _SysExcInfo) -> str:  # noqa: N802 - logging's name
        """Return the indented lines of an exception."""
        return _indented(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 - logging's name
        """Return the indented lines of a stack."""
        return _indented(super().formatStack(stack_info))


def _plain(text: str) -> str:
    return redact(text[:MAX_CHARS]).translate(_CONTROL)


def _indented(text: str) -> str:
    # Redacted before the split: a credential, such as a PEM key, may span several lines.
    lines = redact(text[: 10 * MAX_CHARS]).split("\n")
    return "\n".join(f"    {line.translate(_CONTROL)}" for line in lines)


def handle_all() -> None:
    """Write the warnings of all loggers of this process to stderr, in safe lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter(FORMAT, TIME_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
