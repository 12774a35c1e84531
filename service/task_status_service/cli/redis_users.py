"""The `task-status redis-users` command."""

import os
import re
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

import click

from task_status_service.store.redis_users import API, SEND, WORKER, RedisUser, acl_lines, redis_users
from task_status_service.task_types.queue_names import is_queue_name

#: the folder of each user's password within `--folder`: each container mounts only its own
_FOLDERS: Final = {API: "service", SEND: "service", WORKER: "worker"}


def _queues(_context: click.Context, _option: click.Parameter, queues: tuple[str, ...]) -> tuple[str, ...]:
    if wrong := [queue for queue in queues if not is_queue_name(queue)]:
        raise click.BadParameter(
            f"{wrong[0]!r} is not a queue name: use up to 128 letters, digits and ._:@-, and no key of Celery"
        )
    return queues


def _without_spaces(_context: click.Context, _option: click.Parameter, given: str | tuple[str, ...]) -> object:
    """Check texts that become a part of an ACL rule, which ends at a space."""
    if re.search(r"\s", "".join(given)):
        raise click.BadParameter("spaces are not supported")
    return given


@click.command("redis-users")
@click.option(
    "--queue",
    "queues",
    multiple=True,
    default=("celery",),
    show_default=True,
    callback=_queues,
    help="A queue that the service sends to; repeat it for each queue.",
)
@click.option("--prefix", default="", callback=_without_spaces, help="Celery's global_keyprefix of results.")
@click.option(
    "--app-key",
    "app_keys",
    multiple=True,
    callback=_without_spaces,
    help="Pattern of other keys that tasks use, such as shop:*; repeat it for each pattern.",
)
@click.option("--replicated", is_flag=True, help="Add the users of replicas and sentinels.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write redis/users.acl and a file with each password to this folder; existing passwords are kept.",
)
def print_redis_users(
    queues: tuple[str, ...], prefix: str, app_keys: tuple[str, ...], *, replicated: bool, folder: Path | None
) -> None:
    """Print the users of a shared Redis as lines of its ACL file.

    A password is taken from the environment (STATUS_API_PASSWORD, STATUS_SEND_PASSWORD, WORKER_PASSWORD), or generated.
    """
    users = redis_users(queues=queues, prefix=prefix, app_keys=app_keys, replicated=replicated)
    passwords = {user.name: _password(user, folder) for user in users if user.has_password}
    if folder is None:
        for line in acl_lines(users, passwords):
            click.echo(line)
    else:
        _write(folder, users, passwords)


def _password(user: RedisUser, folder: Path | None) -> str:
    variable = f"{user.name.upper().replace('-', '_')}_PASSWORD"
    if given := os.environ.get(variable):
        if re.search(r"\s", given):
            raise click.UsageError(f"{variable} contains a space, which an ACL file does not support.")
        return given
    if folder is not None and (kept := _password_file(folder, user.name)).exists():
        return kept.read_text(encoding="ascii")
    return secrets.token_urlsafe(32)


def _password_file(folder: Path, user: str) -> Path:
    return folder / _FOLDERS.get(user, "redis") / user


def _write(folder: Path, users: Collection[RedisUser], passwords: Mapping[str, str]) -> None:
    """Write the ACL file, which contains hashes only, and a file for each password, readable by this user only."""
    for user, password in passwords.items():
        _replace(_password_file(folder, user), password, mode=0o600)
    # Redis runs as another user.
    _replace(folder / "redis" / "users.acl", "".join(f"{line}\n" for line in acl_lines(users, passwords, hashed=True)))


def _replace(file: Path, text: str, *, mode: int = 0o644) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=mode)
    new.write_text(text, encoding="utf-8")
    new.replace(file)
