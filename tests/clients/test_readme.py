"""openapi/README.md: each of its commands succeeds unchanged, and its quotations match the files."""

import re
from pathlib import Path

import pytest

from clients.readme import EXAMPLES, ROOT, TEXT, blocks, commands, is_nightly
from clients.workspace import HERE, Workspace


def test_no_command_is_overlooked() -> None:
    """Commands within a sentence or a table are found too; every language of a block is one that a test reads."""
    text = "Say `npx one` or\n\n```sh\nuvx two\n```\n\n| `state` | `go three`, and `curlew` |\n"
    assert commands(text) == ["npx one", "uvx two", "go three"]
    assert set(re.findall(r"^ *```(\w+)$", TEXT, re.MULTILINE)) == {"sh", "python", "ts"}
    assert not any(command.endswith("\\") for command in commands())


@pytest.mark.parametrize("command", [command for command in commands() if not is_nightly(command)])
def test_command(workspace: Workspace, command: str) -> None:
    """Each command of the README succeeds."""
    done = workspace.ran[command]
    assert done.returncode == 0, done.stdout


def test_the_served_document_is_the_committed_one(workspace: Workspace) -> None:
    """The service returns the committed OpenAPI document, so that the clients are generated from it."""
    assert (workspace.folder / "openapi.json").read_bytes() == (ROOT / "openapi" / "openapi.json").read_bytes()


@pytest.mark.parametrize("name", ["follow.py", "follow.ts", "openapi-ts.config.ts"])
def test_quoted_files(name: str) -> None:
    """The README quotes each example file unchanged, and links to it."""
    assert (EXAMPLES / name).read_text() in blocks(Path(name).suffix.removeprefix(".").replace("py", "python"))
    assert f"(../examples/generated_clients/{name})" in TEXT


def test_the_main_readme_has_the_same_command() -> None:
    """The main README links to openapi/README.md, and generates a client with the same command."""
    front = (ROOT / "README.md").read_text()
    assert "(openapi/README.md)" in front
    generate = next(command for command in commands() if "openapi-python-client@" in command)
    assert generate.replace(" openapi.json", " openapi/openapi.json") in commands(front)


def test_the_quoted_stream_is_tested() -> None:
    """The event stream code in the README is the one that the scenario runs."""
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
    """Ten lines follow a task until it is done, without a cast or `any`."""
    text = (EXAMPLES / name).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 10
    assert not re.search(r"\bcast\b|\b[aA]ny\b|type: ignore|@ts-|\S as [A-Z]|\bas unknown", text)
    command = next(command for command in commands() if command.endswith(f" {name}") and "mypy" not in command)
    last = workspace.ran[command].stdout.strip().splitlines()[-1]
    assert "succeeded" in last
    assert "20" in last


def test_npm_versions_are_locked(workspace: Workspace) -> None:
    """The npm commands in the README name the versions of the lock file."""
    installed = (workspace.folder / "package-lock.json").read_text()
    installs = [command for command in commands() if command.startswith("npm install")]
    packages = {word for command in installs for word in command.split() if "@" in word}
    for word in packages:
        name, _, version = word.rpartition("@")
        assert f'"node_modules/{name}": {{\n      "version": "{version}"' in installed
    assert packages
