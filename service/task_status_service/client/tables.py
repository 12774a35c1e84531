"""Tables of tasks and task types, and the description of one task type."""

from collections.abc import Iterable, Mapping
from typing import Any

import click

from task_status_service.client.display import failure_of, note_of, percent_of, plain, put_table, to_json
from task_status_service.client.event_stream import Task


def put_tasks(tasks: Iterable[Task]) -> None:
    """Write a table of tasks to stdout."""
    put_table(
        ("ID", "STATE", "DONE", "NAME", "SUBMITTED", ""),
        (
            (
                task["id"],
                task["state"],
                percent_of(task),
                task["name"] or "",
                task["submitted_at"] or "",
                failure_of(task) or note_of(task),
            )
            for task in tasks
        ),
    )


def put_task_types(task_types: Iterable[Mapping[str, Any]]) -> None:
    """Write a table of task types to stdout, each with the first line of its docstring."""
    put_table(
        ("NAME", "WORKERS", "QUEUE", ""),
        (
            (each["name"], each["workers"], each["queue"] or "", (each["doc"] or "").partition("\n")[0])
            for each in task_types
        ),
    )


def put_task_type(task_type: Mapping[str, Any]) -> None:
    """Write one task type to stdout: its docstring, and each argument with its schema."""
    schema = task_type["arguments"]
    queue = plain(task_type["queue"] or "any queue")
    click.echo(f"{plain(task_type['name'])}: {task_type['workers']} worker(s) on {queue}")
    for line in (task_type["doc"] or "").splitlines():
        click.echo(f"  {plain(line)}".rstrip())
    for argument, argument_schema in (schema.get("properties") or {}).items():
        optional = "" if argument in (schema.get("required") or ()) else " (optional)"
        click.echo(f"  {plain(argument)}={plain(to_json(argument_schema))}{optional}")
