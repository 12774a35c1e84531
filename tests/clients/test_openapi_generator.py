"""The clients that openapi-generator generates for Go and Java; `nightly/` compiles and runs them."""

import re

from task_status_service.status import TaskState

from clients.workspace import Workspace

STATES = {str(state) for state in TaskState}


def without_comments(text: str) -> str:
    """Remove comments, and with them the examples."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def files_with_states(workspace: Workspace, folder: str, pattern: str) -> list[str]:
    """Return the files with more than two states as string literals; other enums share up to two words."""
    return [
        file.name
        for file in sorted((workspace.folder / folder).rglob(pattern))
        if len(STATES & set(re.findall(r'"(\w+)"', without_comments(file.read_text())))) > 2
    ]


def test_one_enum_in_go(workspace: Workspace) -> None:
    """The ten states are the constants of one type, in one file."""
    assert files_with_states(workspace, "taskstatus", "*.go") == ["model_task_state.go"]
    text = (workspace.folder / "taskstatus" / "model_task_state.go").read_text()
    constants = dict(re.findall(r'^\tTASKSTATE_(\w+) TaskState = "(\w+)"$', text, re.MULTILINE))
    assert set(constants.values()) == STATES
    assert {name.lower() for name in constants} == STATES


def test_one_enum_in_java(workspace: Workspace) -> None:
    """The ten states are the members of one enum class, in one file."""
    assert files_with_states(workspace, "task-status-java", "*.java") == ["TaskState.java"]
    (text,) = (file.read_text() for file in (workspace.folder / "task-status-java").rglob("TaskState.java"))
    assert "public enum TaskState {" in text
    assert set(re.findall(r'^ +[A-Z]+\("(\w+)"\)[,;]$', text, re.MULTILINE)) == STATES


def test_nullable_types(workspace: Workspace) -> None:
    """Only nullable members have nullable types."""
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


def test_event_streams_are_read_to_their_end(workspace: Workspace) -> None:
    """The clients read an event stream to its end before they return it, as the README says."""
    assert "io.ReadAll(localVarHTTPResponse.Body)" in (workspace.folder / "taskstatus" / "api_events.go").read_text()
    (events,) = (file.read_text() for file in (workspace.folder / "task-status-java").rglob("EventsApi.java"))
    assert "localVarResponseBody.readAllBytes()" in events


def test_build_files_for_java(workspace: Workspace) -> None:
    """The Java client has build files for Maven and Gradle, for Java 11."""
    folder = workspace.folder / "task-status-java"
    assert (folder / "build.gradle").exists()
    assert "<maven.compiler.source>11</maven.compiler.source>" in (folder / "pom.xml").read_text()
