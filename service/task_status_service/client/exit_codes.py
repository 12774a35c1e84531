"""What a command ends with: exit codes that a script can tell apart, and the errors behind them."""

import enum
from typing import Any, Final


class ExitCode(enum.IntEnum):
    """How it went. What click itself refuses, such as an option that is none, is `USAGE` too."""

    #: the task succeeded; where none was followed: the service did what was asked
    SUCCEEDED = 0
    FAILED = 1
    #: the command or what it sends cannot be used: 400, 413, 415, 422
    USAGE = 2
    #: the task was canceled, or expired before it started
    CANCELED = 3
    #: no such task or task type, or not any more: 404, 410
    NOT_FOUND = 4
    #: the service, or a part that it needs, does not answer: also 429 and every 5xx
    UNAVAILABLE = 5
    #: the key is missing or wrong, or may not do this: 401, 403
    REFUSED = 6
    #: the task's state does not allow it: 409
    CONFLICT = 7
    #: the task ended and nobody can say whether it succeeded: `finished`, `unknown`
    UNCLEAR = 8
    #: Ctrl-C; the task goes on
    INTERRUPTED = 130


_OF_STATE: Final = {
    "succeeded": ExitCode.SUCCEEDED,
    "failed": ExitCode.FAILED,
    "canceled": ExitCode.CANCELED,
    "expired": ExitCode.CANCELED,
}

_OF_STATUS: Final = {
    400: ExitCode.USAGE,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    410: ExitCode.NOT_FOUND,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    409: ExitCode.CONFLICT,
}


def of_task(task: dict[str, Any]) -> ExitCode:
    """Say how a task ended."""
    return _OF_STATE.get(task["state"], ExitCode.UNCLEAR)


class ClientError(Exception):
    """The service did not do what was asked."""

    def __init__(self, code: ExitCode, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.faults = faults

    @classmethod
    def of_problem(cls, status: int, problem: dict[str, Any]) -> "ClientError":
        """Make one of a problem document (RFC 9457)."""
        faults = tuple(
            f"{fault.get('pointer') or fault.get('parameter') or ''} {fault.get('detail', '')}".strip()
            for fault in problem.get("errors") or ()
        )
        message = str(problem.get("detail") or problem.get("title") or status)
        return cls(_OF_STATUS.get(status, ExitCode.UNAVAILABLE), message, faults)
