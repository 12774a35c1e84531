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
    """Say what is wrong in a sentence and not in a traceback."""
    try:
        yield
    except TaskStatusError as error:
        raise click.ClickException(str(error)) from error


@click.group()
def keys() -> None:
    """Make, list and revoke API keys. A server that uses the file sees a change within a second."""


_keys_file = click.option(
    "--file",
    "path",
    envvar="TASK_STATUS_API_KEYS_FILE",
    required=True,
    show_envvar=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The keys file.",
)


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _expiry(_context: click.Context, _option: click.Parameter, text: str | None) -> datetime | None:
    """Read `90d`, `12h`, `30m`, or a time of ISO 8601; one without an offset is UTC."""
    if text is None:
        return None
    if match := re.fullmatch(r"([1-9]\d{0,4})([dhm])", text):
        return _now() + timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[match[2]]: int(match[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is neither a time, 2027-01-31T12:00:00Z, nor a span, 90d.") from error
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment <= _now():
        raise click.BadParameter(f"{text!r} is over already.")
    return moment


def _scopes(_context: click.Context, _option: click.Parameter, text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(scope.strip()) for scope in text.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not some of {', '.join(Scope)}, with commas between them.") from error


@keys.command("init")
@_keys_file
def init_keys(path: Path) -> None:
    """Make a keys file that holds no key yet; leave one alone that is there."""
    with plain_errors():
        if path.exists():
            read(path)
        else:
            change(path, lambda held: held)


@keys.command("add")
@click.argument("name")
@click.option("--scopes", required=True, callback=_scopes, help="What it may do, such as submit,read,cancel.")
@click.option("--expires", callback=_expiry, help="Until when: 90d, 12h, or a time. By default until it is revoked.")
@_keys_file
def add_key(name: str, scopes: frozenset[Scope], expires: datetime | None, path: Path) -> None:
    """Make a key for NAME, and print it: this once, for only a hash of it is kept.

    Keys of the same name see the same tasks: to replace a key, add the next one, then revoke the old one.
    """
    if not re.fullmatch(OWNER_NAME, name):
        raise click.BadParameter("it is 1 to 64 letters, digits and ._- and starts with no sign.", param_hint="NAME")
    kept, text = new_key(name, scopes, created_at=_now(), expires_at=expires)
    with plain_errors():
        change(path, lambda held: held.with_key(kept))
    click.echo(f"key {kept.id} of {name}, kept as a hash in {path}; this is the only time that you see it: {text}")


@keys.command("list")
@_keys_file
def list_keys(path: Path) -> None:
    """List the keys: id, name, scopes, when it was made, until when it counts."""
    with plain_errors():
        held = read(path)
    for key in held.keys:
        expires = f"{key.expires_at.astimezone(UTC):%Y-%m-%dT%H:%MZ}" if key.expires_at else "revoked"
        scopes = ",".join(sorted(key.scopes))
        click.echo(f"{key.id}  {key.name}  {scopes}  made {key.created_at:%Y-%m-%d}, counts until {expires}")


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
@_keys_file
def revoke_key(key_id: str, path: Path) -> None:
    """Revoke the key with this ID, and with it every task token that it has made."""

    def revoked(held: KeyFile) -> KeyFile:
        left = held.without_key(key_id)
        if left == held:
            raise click.ClickException(f"{path} holds no key with the id {key_id}. `task-status keys list` shows them.")
        return left

    with plain_errors():
        change(path, revoked)
