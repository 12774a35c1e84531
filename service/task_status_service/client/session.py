"""The common part of all client commands: options, connection, output and exit code.

`urllib3` and `rich` belong to the extra `client`, which may be missing: they are imported when a command runs.
"""

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from task_status_service.client.exit_codes import ClientError, ExitCode, exit_code_of
from task_status_service.client.retries import Retries

if TYPE_CHECKING:
    from task_status_service.client.api_client import Client
    from task_status_service.client.event_stream import Task

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_EXTRA_MISSING: Final = (
    "This command needs packages that are not installed. Install them: pip install 'task-status-service[client]'"
)


class Session:
    """One run of a command: its connection to the service, and its output."""

    def __init__(self, client: "Client", *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json

    def watch(self, task_id: str) -> ExitCode:
        """Show a task until it is done, then print its result or failure."""
        from task_status_service.client import display, follow  # noqa: PLC0415

        task: Task = {}
        try:
            with display.display_for(as_json=self.as_json) as shown:
                for task in follow.follow(self.client, task_id):
                    shown.show(task)
        except KeyboardInterrupt:
            click.echo(f"The task continues. Watch it again: task-status watch {task_id}", err=True)
            raise
        if not self.as_json:
            self._print_outcome(task)
        return exit_code_of(task)

    def _print_outcome(self, task: "Task") -> None:
        from task_status_service.client import display  # noqa: PLC0415

        if task["state"] == "succeeded":
            is_too_large = any(each["code"] == "result_too_large" for each in task["diagnostics"])
            display.put_json(self.client.result(task["id"]) if is_too_large else task["result"])
        else:
            click.echo(": ".join(filter(None, (task["state"], display.failure_of(task)))), err=True)

    def print_task(self, task: "Task", text: str) -> None:
        """Print the status as JSON with `--json`, else a text."""
        from task_status_service.client import display  # noqa: PLC0415

        if self.as_json:
            display.put_json(task)
        else:
            click.echo(display.plain(text))

    def submit(self, send: Callable[[str], "Task"], *, key: str, is_followed: bool) -> ExitCode:
        """Submit a task with an idempotency key; print its id, or watch it until it is done."""
        try:
            task = send(key)
        except ClientError as error:
            if error.code is not ExitCode.UNAVAILABLE:
                raise
            hint = (
                "The task may have been submitted. Run the command again with "
                f"--idempotency-key {key}: it never submits a second task."
            )
            raise ClientError(error.code, f"{error} {hint}", error.faults) from error
        if not is_followed:
            self.print_task(task, task["id"])
            return ExitCode.SUCCEEDED
        click.echo(f"task {task['id']}", err=True)
        return self.watch(task["id"])


Command = Callable[..., ExitCode]


def client_command(function: Command) -> Callable[..., None]:
    """Turn a function of a session into a command: add the common options, and exit with its code."""

    @click.option(
        "--url",
        envvar="TASK_STATUS_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="URL of the service.",
    )
    @click.option(
        "--key",
        envvar="TASK_STATUS_API_KEY",
        show_envvar=True,
        help="API key. Prefer the environment variable: other users of this machine can see command lines.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document per line, for scripts.")
    @functools.wraps(function)
    def command(*, url: str, key: str | None, as_json: bool, **options: Any) -> None:
        try:
            code = function(Session(connect(url, key), as_json=as_json), **options)
        except ClientError as error:
            _print_error(error)
            code = error.code
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        sys.exit(code)

    return command


def connect(url: str, key: str | None) -> "Client":
    """Create a client, with the `Retries` in `obj` of the click context, if set.

    Raises:
        ClickException: The extra `client` is not installed.
    """
    try:
        from task_status_service.client import api_client, display  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(_EXTRA_MISSING) from error
    context = click.get_current_context(silent=True)
    retries = context.find_object(Retries) if context else None
    return api_client.Client(
        url,
        key,
        report=lambda text: click.echo(display.plain(text), err=True),
        retries=retries or Retries(),
    )


def _print_error(error: ClientError) -> None:
    from task_status_service.client import display  # noqa: PLC0415

    lines = [f"Error: {display.plain(error)}", *(f"  {display.plain(fault)}" for fault in error.faults)]
    click.echo("\n".join(lines), err=True)
