"""The commands that are a client of the HTTP API: `task-status submit|watch|list|cancel|retry|types`.

Imports nothing heavy: the other commands of `task-status` pay for what is imported here.
"""

import functools
import json
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click
from click.shell_completion import CompletionItem

from task_status_service.client.exit_codes import ClientError, ExitCode, of_task

if TYPE_CHECKING:
    from task_status_service.client.api_client import Client, Task

DEFAULT_URL: Final = "http://127.0.0.1:8000"

_EXTRA_MISSING: Final = "This command needs more than the service does: pip install 'task-status-service[client]'"


class Session:
    """What one command speaks to, and how it answers."""

    def __init__(self, client: "Client", *, as_json: bool) -> None:
        self.client = client
        self.as_json = as_json

    def follow(self, task_id: str) -> ExitCode:
        """Show a task until it is done, then how it ended."""
        from task_status_service.client import display, follow  # noqa: PLC0415

        task: Task = {}
        try:
            with display.display_for(as_json=self.as_json) as shown:
                for task in follow.follow(self.client, task_id):
                    shown.show(task)
        except KeyboardInterrupt:
            click.echo(f"The task goes on: task-status watch {task_id}", err=True)
            raise
        if not self.as_json:
            self._conclude(task)
        return of_task(task)

    def _conclude(self, task: "Task") -> None:
        from task_status_service.client import display  # noqa: PLC0415

        if task["state"] == "succeeded":
            is_elsewhere = any(each["code"] == "result_too_large" for each in task["diagnostics"])
            display.put_json(self.client.result(task["id"]) if is_elsewhere else task["result"])
        else:
            click.echo(": ".join(filter(None, (task["state"], display.failure_of(task)))), err=True)

    def answer(self, task: "Task", text: str) -> None:
        """Tell what became of a request: the status for a script, else a text."""
        from task_status_service.client import display  # noqa: PLC0415

        if self.as_json:
            display.put_json(task)
        else:
            click.echo(display.plain(text))

    def accept(self, submit: Callable[[str], "Task"], *, key: str, is_followed: bool) -> ExitCode:
        """Submit a task under a key and tell of it: its id, or all that comes of it."""
        try:
            task = submit(key)
        except ClientError as error:
            if error.code is not ExitCode.UNAVAILABLE:
                raise
            hint = f"It may have been submitted: --idempotency-key {key} asks again and makes no second task."
            raise ClientError(error.code, f"{error} {hint}", error.faults) from error
        if not is_followed:
            self.answer(task, task["id"])
            return ExitCode.SUCCEEDED
        click.echo(f"task {task['id']}", err=True)
        return self.follow(task["id"])


Command = Callable[..., ExitCode]


def _of_client(function: Command) -> Callable[..., None]:
    """Make a command of a function that takes a session: with the options that all have, and an exit code."""

    @click.option(
        "--url",
        envvar="TASK_STATUS_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        help="Where the service is.",
    )
    @click.option(
        "--key",
        envvar="TASK_STATUS_API_KEY",
        show_envvar=True,
        help="API key. Other users of this machine may see it here: rather set the variable.",
    )
    @click.option("--json", "as_json", is_flag=True, help="One JSON document per line, for scripts.")
    @functools.wraps(function)
    def command(*, url: str, key: str | None, as_json: bool, **options: Any) -> None:
        try:
            code = function(Session(_client(url, key), as_json=as_json), **options)
        except ClientError as error:
            click.echo(
                "\n".join([f"Error: {_plain(str(error))}", *(f"  {_plain(fault)}" for fault in error.faults)]), err=True
            )
            code = error.code
        except KeyboardInterrupt:
            code = ExitCode.INTERRUPTED
        sys.exit(code)

    return command


def _client(url: str, key: str | None) -> "Client":
    try:
        from task_status_service.client import api_client, display  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise click.ClickException(_EXTRA_MISSING) from error
    return api_client.Client(url, key, tell=lambda text: click.echo(display.plain(text), err=True))


def _plain(text: str) -> str:
    from task_status_service.client import display  # noqa: PLC0415

    return display.plain(text)


def _value(text: str) -> Any:
    """Read a value as JSON if it is, else as text; NaN and Infinity are no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _read_pairs(_context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Mapping[str, Any]:
    """Read KEY=VALUE, each key once."""
    pairs: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{text!r} is not KEY=VALUE.", param=parameter)
        if name in pairs:
            raise click.BadParameter(f"{name!r} is given twice.", param=parameter)
        pairs[name] = _value(value)
    return pairs


def _read_list(_context: click.Context, parameter: click.Parameter, given: str | None) -> list[Any]:
    """Read a JSON array."""
    value = [] if given is None else _value(given)
    if not isinstance(value, list):
        raise click.BadParameter("It must be a JSON array, such as '[1, 2]'.", param=parameter)
    return value


def _read_labels(_context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> Mapping[str, str]:
    """Read KEY:VALUE, as the API has them."""
    labels = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon:
            raise click.BadParameter(f"{text!r} is not KEY:VALUE.", param=parameter)
        labels[name] = value
    return labels


def _complete_names(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the names of task types, if the service answers at once."""
    try:
        client = _client(context.params.get("url") or DEFAULT_URL, context.params.get("key"))
        types = client.task_types(patience_seconds=0)
    except (ClientError, click.ClickException):
        return []
    return [
        CompletionItem(each["name"], help=_plain((each["doc"] or "").partition("\n")[0]))
        for each in types
        if each["name"].startswith(incomplete)
    ]


def _complete_states(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from task_status_service.status import TaskState  # noqa: PLC0415

    return [CompletionItem(state.value) for state in TaskState if state.value.startswith(incomplete)]


_KEY_OPTION: Final = click.option(
    "--idempotency-key",
    default=lambda: secrets.token_urlsafe(18),
    help="Names this request: sent again with the same one it makes no other task. By default a random one.",
)
_FOLLOW_OPTION: Final = click.option("--follow", "-f", is_flag=True, help="Watch it to its end.")


@click.command()
@click.argument("name", shell_complete=_complete_names)
@click.argument("arguments", metavar="[KEY=VALUE]...", nargs=-1, callback=_read_pairs)
@click.option("--args", metavar="JSON", callback=_read_list, help="Arguments by position: a JSON array.")
@click.option("--label", "labels", metavar="KEY:VALUE", multiple=True, callback=_read_labels, help="To find it by.")
@click.option("--queue", help="Where to send it instead.")
@click.option("--countdown", type=click.FloatRange(min=0), metavar="SECONDS", help="Not to start before.")
@click.option("--expires", type=click.FloatRange(min=0), metavar="SECONDS", help="Not to start after.")
@_KEY_OPTION
@_FOLLOW_OPTION
@_of_client
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

    Each VALUE is read as JSON if it is, else as text: total=10 is a number, total='"10"' a text, name=Ada a text.
    """
    given = {option: value for option, value in options.items() if value is not None}
    submission = {"name": name, "kwargs": arguments, **given}
    return session.accept(functools.partial(session.client.submit, submission), key=idempotency_key, is_followed=follow)


@click.command()
@click.argument("task_id", metavar="ID")
@_of_client
def watch(session: Session, *, task_id: str) -> ExitCode:
    """Follow a task to its end, then print its result."""
    return session.follow(task_id)


@click.command("list")
@click.option("--state", "states", multiple=True, shell_complete=_complete_states, help="In any of these states.")
@click.option("--name", shell_complete=_complete_names, help="Of this task type.")
@click.option("--label", "labels", metavar="KEY:VALUE", multiple=True, help="With all of these labels.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@_of_client
def list_(session: Session, *, states: Sequence[str], name: str | None, labels: Sequence[str], limit: int) -> ExitCode:
    """List tasks, newest first."""
    from task_status_service.client import display  # noqa: PLC0415

    filters = [("state", state) for state in states] + [("label", label) for label in labels]
    tasks = session.client.tasks([*filters, *([("name", name)] if name else [])], limit=limit)
    if session.as_json:
        for task in tasks:
            display.put_json(task)
    else:
        display.put_table(
            ("ID", "STATE", "DONE", "NAME", "SUBMITTED", ""),
            (
                (
                    task["id"],
                    task["state"],
                    display.percent_of(task),
                    task["name"] or "",
                    task["submitted_at"] or "",
                    display.failure_of(task) or display.note_of(task),
                )
                for task in tasks
            ),
        )
    return ExitCode.SUCCEEDED


@click.command()
@click.argument("task_id", metavar="ID")
@click.option("--terminate", is_flag=True, help="Kill it where it runs.")
@_of_client
def cancel(session: Session, *, task_id: str, terminate: bool) -> ExitCode:
    """Cancel a task and print its state: it may still be canceling."""
    task = session.client.cancel(task_id, terminate=terminate)
    session.answer(task, task["state"])
    return ExitCode.SUCCEEDED


@click.command()
@click.argument("task_id", metavar="ID")
@_KEY_OPTION
@_FOLLOW_OPTION
@_of_client
def retry(session: Session, *, task_id: str, idempotency_key: str, follow: bool) -> ExitCode:
    """Submit a task that is done once more and print the id of the new one."""
    return session.accept(functools.partial(session.client.retry, task_id), key=idempotency_key, is_followed=follow)


@click.command()
@click.argument("name", required=False, shell_complete=_complete_names)
@_of_client
def types(session: Session, *, name: str | None) -> ExitCode:
    """List what may be submitted, or describe the task type NAME."""
    from task_status_service.client import display  # noqa: PLC0415

    found = [session.client.task_type(name)] if name else session.client.task_types()
    if session.as_json:
        for each in found:
            display.put_json(each)
    elif name:
        _describe(found[0])
    else:
        display.put_table(
            ("NAME", "WORKERS", "QUEUE", ""),
            (
                (each["name"], each["workers"], each["queue"] or "", (each["doc"] or "").partition("\n")[0])
                for each in found
            ),
        )
    return ExitCode.SUCCEEDED


def _describe(task_type: Mapping[str, Any]) -> None:
    """Print one task type for a person: each argument in a line, with its schema."""
    from task_status_service.client import display  # noqa: PLC0415

    schema = task_type["arguments"]
    click.echo(
        f"{display.plain(task_type['name'])}: {task_type['workers']} worker(s) on {task_type['queue'] or 'any queue'}"
    )
    for line in (task_type["doc"] or "").splitlines():
        click.echo(f"  {display.plain(line)}".rstrip())
    for argument, described in (schema.get("properties") or {}).items():
        needed = "" if argument in (schema.get("required") or ()) else " (optional)"
        click.echo(f"  {display.plain(argument)}={display.plain(display.to_json(described))}{needed}")


COMMANDS: Final = (submit, watch, list_, cancel, retry, types)
