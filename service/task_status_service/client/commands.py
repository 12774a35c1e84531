"""The commands that call the HTTP API: `task-status submit|watch|list|cancel|retry|types`.

This module imports nothing heavy: `task-status --help` imports it.
"""

import functools
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from task_status_service.client.completion import complete_states, complete_task_types
from task_status_service.client.exit_codes import ExitCode
from task_status_service.client.parameters import read_arguments, read_array, read_labels
from task_status_service.client.session import Session, client_command

_KEY_OPTION: Final = click.option(
    "--idempotency-key",
    default=lambda: secrets.token_urlsafe(18),
    help="Idempotency key: repeating a command with the same key does not submit a second task. Default: random.",
)
_FOLLOW_OPTION: Final = click.option("--follow", "-f", is_flag=True, help="Watch the task until it is done.")


@click.command()
@click.argument("name", shell_complete=complete_task_types)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1, callback=read_arguments)
@click.option("--args", metavar="JSON", callback=read_array, help="Positional arguments, as a JSON array.")
@click.option(
    "--label",
    "labels",
    metavar="KEY:VALUE",
    multiple=True,
    callback=read_labels,
    help="Label to find the task by. Repeatable.",
)
@click.option("--queue", help="Queue of the task. Default: the queue of its type.")
@click.option("--countdown", type=click.FloatRange(min=0), metavar="SECONDS", help="Seconds before the task may start.")
@click.option(
    "--expires",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Seconds after which the task expires, if it has not started.",
)
@_KEY_OPTION
@_FOLLOW_OPTION
@client_command
def submit(
    session: Session,
    *,
    name: str,
    arguments: Mapping[str, Any],
    idempotency_key: str,
    follow: bool,
    **options: Any,
) -> ExitCode:
    """Submit a task of type NAME and print its id.

    Each VALUE is read as JSON, or as text if it is not JSON: total=10 is a number, total='"10"' and name=Ada are texts.
    """
    given = {option: value for option, value in options.items() if value is not None}
    submission = {"name": name, "kwargs": arguments, **given}
    return session.submit(functools.partial(session.client.submit, submission), key=idempotency_key, is_followed=follow)


@click.command()
@click.argument("task_id", metavar="ID")
@client_command
def watch(session: Session, *, task_id: str) -> ExitCode:
    """Watch a task until it is done, then print its result."""
    return session.watch(task_id)


@click.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    shell_complete=complete_states,
    help="Only tasks in this state. Repeatable: tasks in any of these states.",
)
@click.option("--name", shell_complete=complete_task_types, help="Only tasks of this type.")
@click.option(
    "--label",
    "labels",
    metavar="KEY:VALUE",
    multiple=True,
    help="Only tasks with this label. Repeatable: tasks with all of these labels.",
)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="Maximum number of tasks.")
@client_command
def list_(session: Session, *, states: Sequence[str], name: str | None, labels: Sequence[str], limit: int) -> ExitCode:
    """List tasks, newest first."""
    from task_status_service.client import display, tables  # noqa: PLC0415

    filters = [("state", state) for state in states] + [("label", label) for label in labels]
    tasks = session.client.tasks([*filters, *([("name", name)] if name else [])], limit=limit)
    if session.as_json:
        for task in tasks:
            display.put_json(task)
    else:
        tables.put_tasks(tasks)
    return ExitCode.SUCCEEDED


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--terminate", is_flag=True, help="Also kill the task if it runs.")
@client_command
def cancel(session: Session, *, task_id: str, terminate: bool) -> ExitCode:
    """Cancel a task and print its state, which may still be "canceling"."""
    task = session.client.cancel(task_id, terminate=terminate)
    session.print_task(task, task["state"])
    return ExitCode.SUCCEEDED


@click.command()
@click.argument("task_id", metavar="ID")
@_KEY_OPTION
@_FOLLOW_OPTION
@client_command
def retry(session: Session, *, task_id: str, idempotency_key: str, follow: bool) -> ExitCode:
    """Submit a done task again, as a new task, and print the new id."""
    return session.submit(functools.partial(session.client.retry, task_id), key=idempotency_key, is_followed=follow)


@click.command()
@click.argument("name", required=False, shell_complete=complete_task_types)
@client_command
def types(session: Session, *, name: str | None) -> ExitCode:
    """List the available task types, or describe the type NAME."""
    from task_status_service.client import display, tables  # noqa: PLC0415

    found = [session.client.task_type(name)] if name else session.client.task_types()
    if session.as_json:
        for each in found:
            display.put_json(each)
    elif name:
        tables.put_task_type(found[0])
    else:
        tables.put_task_types(found)
    return ExitCode.SUCCEEDED


COMMANDS: Final = (submit, watch, list_, cancel, retry, types)
