"""The `task-status redis-users` command: its options, and the files that it writes."""

import hashlib
import re
import stat

import pytest
from click.testing import CliRunner
from task_status_service.cli.main import main


def run(*options: str, **environ: str) -> str:
    """Run the command, and return its output."""
    done = CliRunner().invoke(main, ["redis-users", *options], env=environ)
    assert done.exit_code == 0, done.output
    return done.output


def test_passwords_are_random():
    """Each user has another password, and each run has others."""
    found = [re.findall(r" on >(\S+) ", run()) for _ in range(2)]

    assert [len(passwords) for passwords in found] == [3, 3]
    assert len({*found[0], *found[1]}) == 6
    assert all(len(password) >= 43 for passwords in found for password in passwords)


def test_passwords_of_the_environment():
    """A password in the environment is used."""
    assert "user worker on >given " in run(WORKER_PASSWORD="given")


@pytest.mark.parametrize(
    ("options", "environ"),
    [
        (["--queue", "task status"], {}),
        (["--queue", "*"], {}),
        (["--queue", "unacked"], {}),
        (["--queue", "task-status:epoch"], {}),
        (["--prefix", "shop: ~*"], {}),
        (["--app-key", "shop:* +@all"], {}),
        ([], {"WORKER_PASSWORD": "a +@all"}),
        ([], {"WORKER_PASSWORD": "a\nuser evil on nopass +@all"}),
    ],
)
def test_nothing_can_add_a_rule(options, environ):
    """Reserved queues are rejected, and so is a prefix, a pattern or a password with a space."""
    done = CliRunner().invoke(main, ["redis-users", *options], env=environ)

    assert done.exit_code == 2
    assert "user " not in done.output


def test_files_with_passwords(tmp_path):
    """The ACL file contains hashes only; each password is in a file that only its user can read."""
    run("--folder", str(tmp_path))

    lines = (tmp_path / "redis" / "users.acl").read_text().splitlines()
    files = {"status-api": "service", "status-send": "service", "worker": "worker"}
    for name, folder in files.items():
        file = tmp_path / folder / name
        hashed = hashlib.sha256(file.read_bytes()).hexdigest()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert [line for line in lines if line.startswith(f"user {name} on #{hashed} ")] != []
        assert file.read_text() not in "".join(lines)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "status-api",
        "status-send",
        "users.acl",
        "worker",
    ]


def test_existing_passwords_are_kept(tmp_path):
    """A second run updates the permissions and keeps the passwords."""
    run("--folder", str(tmp_path))
    before = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    run("--folder", str(tmp_path), "--queue", "mail")
    after = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    changed = [path.name for path, text in after.items() if before[path] != text]
    assert changed == ["users.acl"]
