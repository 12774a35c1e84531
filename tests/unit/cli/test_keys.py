"""The `task-status keys` commands."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from task_status_service.access.api_keys import Keyring
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import read
from task_status_service.cli.main import main


@pytest.fixture
def run(tmp_path):
    """A function that runs a command on a new keys file and returns its output."""

    def run(*words, fails=False, **environ):
        options = [] if environ else ["--file", str(tmp_path / "keys.json")]
        result = CliRunner().invoke(main, ["keys", *words, *options], env=environ)
        assert (result.exit_code != 0) == fails, result.output
        assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
        return result.output

    return run


def test_the_key_is_printed_once(run, tmp_path):
    """The key is the last word of the output of `add`, and no later output contains it."""
    output = run("add", "web", "--scopes", "submit, read")

    [key] = read(tmp_path / "keys.json").keys
    text = output.rstrip("\n").split(" ")[-1]
    assert output.count("\n") == 1
    assert Keyring(read(tmp_path / "keys.json")).key_of(text, datetime.now(UTC)) == key
    assert (key.name, key.scopes, key.expires_at) == ("web", {Scope.SUBMIT, Scope.READ}, None)
    assert text not in run("list")


@pytest.mark.parametrize(
    ("text", "expires_at"),
    [
        ("2099-01-01", datetime(2099, 1, 1, tzinfo=UTC)),
        ("2099-01-01T02:00:00+02:00", datetime(2099, 1, 1, tzinfo=UTC)),
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m", timedelta(minutes=30)),
    ],
)
def test_expiry_of_a_key(run, tmp_path, text, expires_at):
    """The expiry is a time, or a duration from now."""
    run("add", "web", "--scopes", "read", "--expires", text)

    [key] = read(tmp_path / "keys.json").keys
    expected = expires_at if isinstance(expires_at, datetime) else datetime.now(UTC) + expires_at
    assert abs(key.expires_at - expected) < timedelta(seconds=5)
    assert f"expires {key.expires_at:%Y-%m-%dT%H:%MZ}" in run("list")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["web", "--scopes", "read,root"], "submit, read, cancel, admin, tracebacks"),
        (["web", "--scopes", ""], "submit, read"),
        (["we:b", "--scopes", "read"], "letters"),
        (["web\n", "--scopes", "read"], "letters"),
        (["web", "--scopes", "read", "--expires", "soon"], "90d"),
        (["web", "--scopes", "read", "--expires", "2020-01-01"], "in the past"),
        (["web"], "--scopes"),
    ],
)
def test_invalid_options_are_reported(run, tmp_path, words, message):
    """An invalid option is reported, and no file is written."""
    assert message in run("add", *words, fails=True)
    assert not (tmp_path / "keys.json").exists()


def test_list_and_revoke(run, tmp_path):
    """`list` prints one line per key, and `revoke` deletes the key of an id."""
    for name in ("web", "app"):
        run("add", name, "--scopes", "cancel,read")
    first, second = run("list").splitlines()
    assert re.fullmatch(r"[0-9a-f]{12}  web  cancel,read  created \d{4}-\d\d-\d\d, expires never", first)

    run("revoke", first.split()[0])

    assert run("list").splitlines() == [second]
    assert "has no key" in run("revoke", first.split()[0], fails=True)
    assert [key.name for key in read(tmp_path / "keys.json").keys] == ["app"]


def test_init_keeps_an_existing_file(run, tmp_path):
    """`init` creates a file without keys, and leaves an existing file unchanged."""
    run("init")
    assert read(tmp_path / "keys.json").keys == ()
    run("add", "web", "--scopes", "read")
    run("init")
    assert len(read(tmp_path / "keys.json").keys) == 1
    (tmp_path / "keys.json").write_text("{")
    assert "is not a keys file" in run("init", fails=True)


def test_the_default_file_is_that_of_the_server(run, tmp_path):
    """The default file is that of the setting of the server."""
    run("add", "web", "--scopes", "read", TASK_STATUS_API_KEYS_FILE=str(tmp_path / "other.json"))

    assert [key.name for key in read(tmp_path / "other.json").keys] == ["web"]


def test_a_missing_folder_is_reported(run):
    """A missing folder is reported without a traceback."""
    assert "cannot be written: No such file" in run(
        "add", "web", "--scopes", "read", fails=True, TASK_STATUS_API_KEYS_FILE="/no/such/folder/keys.json"
    )
