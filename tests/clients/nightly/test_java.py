"""The Java client: compiled, and run against the live service."""

import os
import shutil
from pathlib import Path

import pytest

from clients.workspace import INSTALLED, Workspace

ANNOTATIONS = Path("/usr/share/java/jakarta-annotation-api.jar")


@pytest.fixture(scope="session")
def libraries() -> str:
    """Give the class path of what the client needs: the generator brings Jackson, Debian Jakarta's annotations."""
    if shutil.which("javac") is None:
        pytest.skip("there is no javac here (Debian: apt-get install default-jdk-headless)")
    if not ANNOTATIONS.exists():
        pytest.skip("Jakarta's annotations are not here (Debian: apt-get install libjakarta-annotation-api-java)")
    (jar,) = INSTALLED.glob("lib/python*/site-packages/openapi_generator_cli/openapi-generator.jar")
    return f"{jar}{os.pathsep}{ANNOTATIONS}"


@pytest.fixture(scope="session")
def classes(workspace: Workspace, libraries: str) -> str:
    """Compile the client; give the class path that has it."""
    sources = map(str, (workspace.folder / "task-status-java" / "src" / "main").rglob("*.java"))
    workspace.succeed("javac", "-proc:none", "-nowarn", "-cp", libraries, "-d", "classes", *sources)
    return f"classes{os.pathsep}{libraries}"


def test_scenario(workspace: Workspace, classes: str) -> None:
    """It submits, polls with ETags, waits, reads failures and problems, cancels, walks pages."""
    program = str(Path(__file__).with_name("Follow.java"))
    workspace.succeed("javac", "-proc:none", "-cp", classes, "-d", "classes", program)
    assert workspace.succeed("java", "-cp", classes, "Follow") == "followed true 3\n"


def test_mistakes_are_found(workspace: Workspace, classes: str) -> None:
    """A state that there is not, and a key that there is not, do not compile."""
    text = """
import taskstatus.model.TaskState;
import taskstatus.model.TaskStatus;

class Mistakes {
  TaskState paused = TaskState.PAUSED;
  Object stat = new TaskStatus().getStat();
  String state = new TaskStatus().getState();
}
"""
    (workspace.folder / "Mistakes.java").write_text(text)
    done = workspace.run("javac", "-proc:none", "-cp", classes, "-d", "classes", "Mistakes.java")
    assert done.returncode != 0
    assert all(f"Mistakes.java:{line}: error" in done.stdout for line in (6, 7, 8)), done.stdout
