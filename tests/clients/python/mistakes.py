"""Mistakes that a type checker must report; each is marked, and a mark without a mistake is an error too."""

from typing import Any, assert_type

from task_status_client.models import Problem, Submission, TaskState, TaskStatus


def mistakes(task: TaskStatus, problem: Problem, response: Any | Problem | TaskStatus | None) -> None:
    """Use a status, a problem and a submission in ways that their types forbid."""
    print(task.stat)  # type: ignore[attr-defined]
    print(TaskState.PAUSED)  # type: ignore[attr-defined]
    print(task.progress.percent)  # type: ignore[union-attr]
    print(task.failure.message)  # type: ignore[union-attr]
    print(task.finished_at.isoformat())  # type: ignore[union-attr]
    print(task.labels["customer"] + 1)  # type: ignore[operator]
    print(problem.errors[0].where)  # type: ignore[attr-defined]
    print(response.state)  # type: ignore[union-attr]
    assert_type(task.state, str)  # type: ignore[assert-type]
    Submission()  # type: ignore[call-arg]
    Submission(name=42)  # type: ignore[arg-type]
