"""The `task-status keys` commands."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from task_status_service.access.api_keys import OWNER_NAME, KeyFile, new_key
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import change, read
from task_status_service.errors import TaskStatusError


@contextmanager
def plain_errors() -> Iterator[None]:
    """Report an error of the service as one line instead of a traceback."""
    try:
        yield
    except TaskStatusError as error:
        raise click.ClickException(str(error)) from error


@click.group()
def keys() -> None:
    """Create, list and revoke API keys. A running server applies each change within a second."""


_keys_file = click.option(
    "--file",
    "path",
    envvar="TASK_STATUS_API_KEYS_FILE",
    required=True,
    show_envvar=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Path of the keys file.",
)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _expiry(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """Read a duration such as `90d`, `12h` or `30m`, or an ISO 8601 time; the default offset is UTC."""
    if text is None:
        return None
    if match := re.fullmatch(r"([1-9]\d{0,4})([dhm])", text):
        return _now() + timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is invalid: use a time such as 2027-01-31T12:00:00Z, or a duration such as 90d."
        ) from error
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment <= _now():
        raise click.BadParameter(f"{text!r} is in the past.")
    return moment


def _scopes(_context: click.Context, _option: click.Parameter, text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(scope.strip()) for scope in text.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r} is invalid: use scopes separated by commas, of {', '.join(Scope)}."
        ) from error


@keys.command("init")
@_keys_file
def init_keys(path: Path) -> None:
    """Create a keys file without keys; an existing file stays unchanged."""
    with plain_errors():
        if path.exists():
            read(path)
        else:
            change(path, lambda held: held)


@keys.command("add")
@click.argument("name")
@click.option("--scopes", required=True, callback=_scopes, help="Scopes, such as submit,read,cancel.")
@click.option("--expires", callback=_expiry, help="Expiry: 90d, 12h, or a time. Default: none.")
@_keys_file
def add_key(name: str, scopes: frozenset[Scope], expires: datetime | None, path: Path) -> None:
    """Create a key for NAME and print it. It cannot be printed again, because the file stores only its hash.

    Keys of the same name have access to the same tasks: to replace a key, add another one, then revoke the old one.
    """
    if not re.fullmatch(OWNER_NAME, name):
        raise click.BadParameter(
            "must be 1 to 64 letters, digits and ._-, starting with a letter or digit.", param_hint="NAME"
        )
    kept, text = new_key(name, scopes, created_at=_now(), expires_at=expires)
    with plain_errors():
        change(path, lambda held: held.with_key(kept))
    click.echo(f"Key {kept.id} of {name} was added to {path}. It cannot be printed again: {text}")


@keys.command("list")
@_keys_file
def list_keys(path: Path) -> None:
    """List the keys: id, name, scopes, creation date and expiry."""
    with plain_errors():
        held = read(path)
    for key in held.keys:
        expires = f"{key.expires_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if key.expires_at else "never"
        scopes = ",".join(sorted(key.scopes))
        click.echo(f"{key.id}  {key.name}  {scopes}  created {key.created_at:%Y-%m-%d}, expires {expires}")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@_keys_file
def revoke_key(key_id: str, path: Path) -> None:
    """Revoke the key with this ID, and all task tokens that it has issued."""

    def revoked(held: KeyFile) -> KeyFile:
        left = held.without_key(key_id)
        if left == held:
            raise click.ClickException(f"{path} has no key with the id {key_id}: see `task-status keys list`.")
        return left

    with plain_errors():
        change(path, revoked)
