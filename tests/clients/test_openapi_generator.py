"""What openapi-generator makes of the document; `nightly/` compiles and runs it."""

import re

from task_status_service.status import TaskState

from clients.workspace import Workspace

STATES = {str(state) for state in TaskState}


def without_comments(text: str) -> str:
    """Leave out comments and the examples in them."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def holders(workspace: Workspace, folder: str, pattern: str) -> list[str]:
    """Give the files that have more than one state in a text of their own; labels have two words in common."""
    return [
        file.name
        for file in sorted((workspace.folder / folder).rglob(pattern))
        if len(STATES & set(re.findall(r'"(\w+)"', without_comments(file.read_text())))) > 2
    ]


def test_one_enum_in_go(workspace: Workspace) -> None:
    """The ten states are the constants of one type, in one file."""
    assert holders(workspace, "taskstatus", "*.go") == ["model_task_state.go"]
    text = (workspace.folder / "taskstatus" / "model_task_state.go").read_text()
    constants = dict(re.findall(r'^\tTASKSTATE_(\w+) TaskState = "(\w+)"$', text, re.MULTILINE))
    assert set(constants.values()) == STATES
    assert {name.lower() for name in constants} == STATES


def test_one_enum_in_java(workspace: Workspace) -> None:
    """The ten states are the members of one enum class, in one file."""
    assert holders(workspace, "task-status-java", "*.java") == ["TaskState.java"]
    (text,) = (file.read_text() for file in (workspace.folder / "task-status-java").rglob("TaskState.java"))
    assert "public enum TaskState {" in text
    assert set(re.findall(r'^ +[A-Z]+\("(\w+)"\)[,;]$', text, re.MULTILINE)) == STATES


def test_types(workspace: Workspace) -> None:
    """What may be null says so, and nothing is wrapped that need not be."""
    status = (workspace.folder / "taskstatus" / "model_task_status.go").read_text()
    for member in ("State TaskState", "Progress NullableProgress", "Failure NullableFailure", "Result interface{}"):
        assert f"\t{member} `json:" in status
    (status,) = (file.read_text() for file in (workspace.folder / "task-status-java").rglob("TaskStatus.java"))
    for member in (
        "TaskState state",
        "Progress progress",
        "Failure failure",
        "Object result",
        "OffsetDateTime finishedAt",
    ):
        assert f"  private {member};" in status.replace(" = null;", ";")


def test_no_streams(workspace: Workspace) -> None:
    """Event streams are read to their end before anything is given, as the README says."""
    assert "io.ReadAll(localVarHTTPResponse.Body)" in (workspace.folder / "taskstatus" / "api_events.go").read_text()
    (events,) = (file.read_text() for file in (workspace.folder / "task-status-java").rglob("EventsApi.java"))
    assert "localVarResponseBody.readAllBytes()" in events


def test_builds_for_java(workspace: Workspace) -> None:
    """There are files for Maven and Gradle, for Java 11."""
    folder = workspace.folder / "task-status-java"
    assert (folder / "build.gradle").exists()
    assert "<maven.compiler.source>11</maven.compiler.source>" in (folder / "pom.xml").read_text()
