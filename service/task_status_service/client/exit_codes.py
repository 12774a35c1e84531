"""Exit codes of the client commands, and the error that carries one."""

import enum
from typing import Any, Final


class ExitCode(enum.IntEnum):
    """Exit code of a client command. Usage errors found by click also exit with `USAGE`."""

    #: the task succeeded; for a command that follows no task, the service accepted the request
    SUCCEEDED = 0
    FAILED = 1
    #: invalid command line or request: 400, 413, 415, 422
    USAGE = 2
    #: the task was canceled, or expired before it started
    CANCELED = 3
    #: the task or task type is unknown or has expired: 404, 410
    NOT_FOUND = 4
    #: the service, or a part of it, is unavailable: no connection, 429 and every 5xx
    UNAVAILABLE = 5
    #: the API key is missing, invalid, or lacks a scope: 401, 403
    DENIED = 6
    #: the state of the task does not allow the request: 409
    CONFLICT = 7
    #: the task is done, and whether it succeeded is unknown: `finished`, `unknown`
    UNCLEAR = 8
    #: Ctrl-C; the task continues
    INTERRUPTED = 130


_EXIT_CODE_OF_STATE: Final = {
    "succeeded": ExitCode.SUCCEEDED,
    "failed": ExitCode.FAILED,
    "canceled": ExitCode.CANCELED,
    "expired": ExitCode.CANCELED,
}

_EXIT_CODE_OF_HTTP_STATUS: Final = {
    400: ExitCode.USAGE,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.USAGE,
    404: ExitCode.NOT_FOUND,
    410: ExitCode.NOT_FOUND,
    401: ExitCode.DENIED,
    403: ExitCode.DENIED,
    409: ExitCode.CONFLICT,
}


def exit_code_of(task: dict[str, Any]) -> ExitCode:
    """Return the exit code for a task that is done."""
    return _EXIT_CODE_OF_STATE.get(task["state"], ExitCode.UNCLEAR)


class ClientError(Exception):
    """A request failed; its message, exit code and faults are for the user."""

    def __init__(self, code: ExitCode, message: str, faults: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.faults = faults

    @classmethod
    def of_problem(cls, status: int, problem: dict[str, Any]) -> "ClientError":
        """Create an error from a problem document (RFC 9457)."""
        faults = tuple(
            f"{fault.get('pointer') or fault.get('parameter') or ''} {fault.get('detail', '')}".strip()
            for fault in problem.get("errors") or ()
        )
        message = str(problem.get("detail") or problem.get("title") or status)
        return cls(_EXIT_CODE_OF_HTTP_STATUS.get(status, ExitCode.UNAVAILABLE), message, faults)
