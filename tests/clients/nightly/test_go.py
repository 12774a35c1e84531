"""The Go client: built, checked, and run against the live service."""

import os
import shutil
from pathlib import Path

import pytest

from clients.readme import commands, is_nightly
from clients.workspace import Workspace


@pytest.fixture(scope="session")
def built(workspace: Workspace) -> Workspace:
    """Run the commands of the README that need Go."""
    for command in filter(is_nightly, commands()):
        workspace.type(command)
    return workspace


@pytest.mark.parametrize("command", [command for command in commands() if is_nightly(command)])
def test_command(built: Workspace, command: str) -> None:
    """Each command of the README that needs Go succeeds."""
    done = built.ran[command]
    assert done.returncode == 0, done.stdout


def test_scenario(built: Workspace) -> None:
    """The Go client submits, polls, waits, reads failures and problems, cancels and pages; `go vet` reports nothing."""
    program = built.folder / "program"
    program.mkdir()
    shutil.copy(Path(__file__).with_name("main.go"), program)
    built.succeed("go", "vet", "./program", "./taskstatus")
    assert built.succeed("go", "run", "./program") == "followed true 3\n"


def test_mistakes_are_found(built: Workspace) -> None:
    """Code with an unknown state, an unknown member, or progress without a null check does not compile."""
    mistakes = built.folder / "mistakes"
    mistakes.mkdir()
    text = """package main

import "example.com/follow/taskstatus"

func main() {
	var task taskstatus.TaskStatus
	println(task.State == taskstatus.TASKSTATE_PAUSED)
	println(task.Progress.Percent)
	println(task.Stat)
}
"""
    (mistakes / "main.go").write_text(text)
    done = built.run("go", "build", "-o", os.devnull, "./mistakes")
    assert done.returncode != 0
    assert all(f"main.go:{line}:" in done.stdout for line in (7, 8, 9)), done.stdout
