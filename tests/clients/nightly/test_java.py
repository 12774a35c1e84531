"""The Java client: compiled, and run against the live service."""

import os
import shutil
from pathlib import Path

import pytest

from clients.workspace import INSTALLED, Workspace

ANNOTATIONS = Path("/usr/share/java/jakarta-annotation-api.jar")


@pytest.fixture(scope="session")
def libraries() -> str:
    """Return the class path of the client's libraries: the generator's Jackson, and Jakarta's annotations."""
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed (Debian: apt-get install default-jdk-headless)")
    if not ANNOTATIONS.exists():
        pytest.skip("Jakarta's annotations are not installed (Debian: apt-get install libjakarta-annotation-api-java)")
    (jar,) = INSTALLED.glob("lib/python*/site-packages/openapi_generator_cli/openapi-generator.jar")
    return f"{jar}{os.pathsep}{ANNOTATIONS}"


@pytest.fixture(scope="session")
def classes(workspace: Workspace, libraries: str) -> str:
    """Compile the client; return the class path that contains it."""
    sources = map(str, (workspace.folder / "task-status-java" / "src" / "main").rglob("*.java"))
    workspace.succeed("javac", "-proc:none", "-nowarn", "-cp", libraries, "-d", "classes", *sources)
    return f"classes{os.pathsep}{libraries}"


def test_scenario(workspace: Workspace, classes: str) -> None:
    """The Java client submits, polls with ETags, waits, reads failures and problems, cancels and pages."""
    program = str(Path(__file__).with_name("Follow.java"))
    workspace.succeed("javac", "-proc:none", "-cp", classes, "-d", "classes", program)
    assert workspace.succeed("java", "-cp", classes, "Follow") == "followed true 3\n"


def test_mistakes_are_found(workspace: Workspace, classes: str) -> None:
    """Code with an unknown state, an unknown member, or a wrong type does not compile."""
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
