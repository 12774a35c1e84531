"""The `task-status` command."""

import contextlib
from pathlib import Path
from typing import BinaryIO

import click

from task_status_service.cli.keys import keys, plain_errors
from task_status_service.cli.redis_users import print_redis_users


class _Commands(click.Group):
    """The commands of the service and of its client."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names of all commands."""
        return sorted([*super().list_commands(ctx), *_client_commands()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; the client is imported only for its own commands."""
        return super().get_command(ctx, cmd_name) or _client_commands().get(cmd_name)


def _client_commands() -> dict[str, click.Command]:
    from task_status_service.client.commands import COMMANDS  # noqa: PLC0415

    return {str(command.name): command for command in COMMANDS}


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="task-status-service", prog_name="task-status")
def main() -> None:
    """Submit and watch Celery tasks over HTTP, and run the API."""


# Each command imports its modules when it runs: `--help` is quick, and gevent can patch before the app is imported.


@main.command()
def serve() -> None:
    """Run the API under gunicorn, from the TASK_STATUS_… settings."""
    from task_status_service.access.keys_file import read  # noqa: PLC0415
    from task_status_service.server.gunicorn import Server  # noqa: PLC0415
    from task_status_service.settings import from_env  # noqa: PLC0415

    with plain_errors():
        settings = from_env()
        if settings.api_keys_file:
            # An unreadable file fails here: gunicorn would restart each failing worker process endlessly.
            read(settings.api_keys_file)
        Server(settings).run()


@main.command()
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65_535), help="Port of the API.")
@click.option(
    "--folder",
    default=Path(".run"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the data of the embedded Redis.",
)
@click.option("--reload", is_flag=True, help="Restart the worker and the API after each change of their code.")
def dev(port: int, folder: Path, *, reload: bool) -> None:
    """Run everything in one terminal: Redis, a worker with the demo tasks, and the API."""
    from task_status_service.dev.supervisor import run  # noqa: PLC0415

    with plain_errors():
        run(port=port, folder=folder, reload=reload)


@main.command()
@click.option("--output", default="-", type=click.File("wb"), help="Output file; the default is the terminal.")
def openapi(output: BinaryIO) -> None:
    """Write the OpenAPI document."""
    from task_status_service.app import create_service  # noqa: PLC0415
    from task_status_service.settings import Settings  # noqa: PLC0415

    with contextlib.closing(create_service(Settings())) as service:
        output.write(service.app.test_client().get("/openapi.json").data)


main.add_command(keys)
main.add_command(print_redis_users)
