"""openapi/README.md: each of its commands is run as it stands there, and what it quotes is what there is."""

import re
from pathlib import Path

import pytest

from clients.readme import EXAMPLES, ROOT, TEXT, blocks, commands, is_nightly
from clients.workspace import HERE, Workspace


def test_no_command_is_overlooked() -> None:
    """A command within a sentence or a table counts too; of blocks there are only kinds that something looks at."""
    text = "Say `npx one` or\n\n```sh\nuvx two\n```\n\n| `state` | `go three`, and `curlew` |\n"
    assert commands(text) == ["npx one", "uvx two", "go three"]
    assert set(re.findall(r"^ *```(\w+)$", TEXT, re.MULTILINE)) == {"sh", "python", "ts"}
    assert not any(command.endswith("\\") for command in commands())


@pytest.mark.parametrize("command", [command for command in commands() if not is_nightly(command)])
def test_command(workspace: Workspace, command: str) -> None:
    """It does what it says."""
    done = workspace.ran[command]
    assert done.returncode == 0, done.stdout


def test_generated_from_what_is_committed(workspace: Workspace) -> None:
    """What the service serves is what is committed, so that the clients are those of the committed document."""
    assert (workspace.folder / "openapi.json").read_bytes() == (ROOT / "openapi" / "openapi.json").read_bytes()


@pytest.mark.parametrize("name", ["follow.py", "follow.ts", "openapi-ts.config.ts"])
def test_quotes(name: str) -> None:
    """A file that the README quotes is quoted as it is, and linked to."""
    assert (EXAMPLES / name).read_text() in blocks(Path(name).suffix.removeprefix(".").replace("py", "python"))
    assert f"(../examples/generated_clients/{name})" in TEXT


def test_the_front_page_says_the_same() -> None:
    """The README of the project links to the page, and generates a client with the same command."""
    front = (ROOT / "README.md").read_text()
    assert "(openapi/README.md)" in front
    generate = next(command for command in commands() if "openapi-python-client@" in command)
    assert generate.replace(" openapi.json", " openapi/openapi.json") in commands(front)


def test_quotes_what_the_scenario_does() -> None:
    """The stream that the README shows is the one that the scenario follows."""
    lines = (
        (HERE / "python" / "scenario.py")
        .read_text()
        .split("# The README shows it from here\n")[1]
        .split("# to here.")[0]
    )
    quoted = blocks("python")[1]
    assert [line.strip() for line in lines.strip().splitlines()] == [line.strip() for line in quoted.splitlines()]


@pytest.mark.parametrize("name", ["follow.py", "follow.ts"])
def test_ten_lines(workspace: Workspace, name: str) -> None:
    """Ten lines follow a task to its end, without a cast, and any."""
    text = (EXAMPLES / name).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    assert not re.search(r"\bcast\b|\b[aA]ny\b|type: ignore|@ts-|\S as [A-Z]|\bas unknown", text)
    command = next(command for command in commands() if command.endswith(f" {name}") and "mypy" not in command)
    last = workspace.ran[command].stdout.strip().splitlines()[-1]
    assert "succeeded" in last
    assert "20" in last


def test_locked(workspace: Workspace) -> None:
    """The README asks npm for the versions of the lock."""
    installed = (workspace.folder / "package-lock.json").read_text()
    installs = [command for command in commands() if command.startswith("npm install")]
    asked = {word for command in installs for word in command.split() if "@" in word}
    for word in asked:
        name, _, version = word.rpartition("@")
        assert f'"node_modules/{name}": {{\n      "version": "{version}"' in installed
    assert asked
