"""The client of openapi-python-client: checked strictly, then run against the live service."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from task_status_service.status import TaskState

from clients.scenario import check_output
from clients.workspace import HERE, ROOT, Workspace

STATES = {str(state) for state in TaskState}


@pytest.fixture(scope="session")
def python(workspace: Workspace) -> str:
    """Install the generated package as a user does; return the path of its Python."""
    workspace.succeed("uv", "venv", "--quiet", "installed")
    python = str(workspace.folder / "installed" / "bin" / "python")
    workspace.succeed("uv", "pip", "install", "--quiet", "--python", python, "./task-status-client")
    for file in (HERE / "python").iterdir():
        shutil.copy(file, workspace.folder)
    return python


def mypy(workspace: Workspace, python: str, *files: str) -> str:
    """Return the output of a strict mypy, without the configuration of this project."""
    strict = ("--config-file=", "--strict", "--no-error-summary", "--cache-dir=mypy-cache")
    done = workspace.run(str(ROOT / ".venv" / "bin" / "mypy"), *strict, "--python-executable", python, *files)
    assert (done.returncode == 0) is (done.stdout.strip() == ""), done.stdout
    return done.stdout


def pyright(workspace: Workspace, python: str, *files: str) -> list[dict]:
    """Return the errors of a strict pyright."""
    config = {"include": files, "typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": True}
    (workspace.folder / "pyright.json").write_text(json.dumps(config))
    done = workspace.run("pyright", "--project", "pyright.json", "--pythonpath", python, "--outputjson")
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] >= len(files)
    return report["generalDiagnostics"]


def test_no_warning(workspace: Workspace) -> None:
    """The generator prints no warning."""
    (printed,) = (done.stdout for command, done in workspace.ran.items() if "openapi-python-client" in command)
    assert "warning" not in printed.lower()


def test_one_enum(workspace: Workspace) -> None:
    """The ten states are the members of one enum class; no other class of the package repeats them."""
    found = {}
    for file in (workspace.folder / "task-status-client").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                texts = {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
                if len(STATES & texts) > 1:
                    bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
                    members = {inner.value.value for inner in node.body if isinstance(inner, ast.Assign)}
                    found[node.name] = (bases, members)
    assert found.pop("TaskState") == ({"str", "Enum"}, STATES)
    # FailureKind and Liveness share one word each with TaskState.
    assert all(len(STATES & members) < 2 for _, members in found.values())


def test_strict(workspace: Workspace, python: str) -> None:
    """Strict mypy and pyright accept code that uses the client, and each marked mistake."""
    files = ("follow.py", "scenario.py", "mistakes.py")
    assert mypy(workspace, python, *files) == ""
    assert pyright(workspace, python, *files) == []


def test_mistakes_are_found(workspace: Workspace, python: str) -> None:
    """The type checkers report each marked mistake when its mark is removed."""
    marked = (workspace.folder / "mistakes.py").read_text()
    lines = {number for number, line in enumerate(marked.splitlines(), 1) if "# type: ignore" in line}
    assert len(lines) > 5
    (workspace.folder / "unmarked.py").write_text(re.sub(r"  # type: ignore.*", "", marked))
    found = mypy(workspace, python, "unmarked.py")
    assert {int(number) for number in re.findall(r"^unmarked\.py:(\d+): error", found, re.MULTILINE)} == lines, found
    reported = {error["range"]["start"]["line"] + 1 for error in pyright(workspace, python, "unmarked.py")}
    assert reported == lines


def test_ten_lines_have_full_types(workspace: Workspace, python: str) -> None:
    """The type checkers report each typo in the ten-line example of openapi/README.md."""
    text = (workspace.folder / "follow.py").read_text()
    for right, slip in ((".done", ".dune"), ("progress.percent", "progress.per_cent"), ("result)", "results)")):
        assert right in text
        (workspace.folder / "slip.py").write_text(text.replace(right, slip))
        assert "slip.py" in mypy(workspace, python, "slip.py")


def test_scenario(workspace: Workspace, python: str) -> None:
    """The client submits, polls with ETags, waits, reads failures and problems, cancels, pages and streams events."""
    seen = check_output(workspace.succeed(python, "-W", "error", "scenario.py"))
    assert seen["events"][-1] == "succeeded"
    assert seen["later"] == "kept"
    assert seen["proxy"] == 502


def test_no_generated_code_is_committed() -> None:
    """The project contains no generated code."""
    assert not [path for path in (ROOT / "tests" / "clients").rglob("*") if "task_status_client" in Path(path).name]
