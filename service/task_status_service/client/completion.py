"""Shell completion of task types and states."""

import click
from click.shell_completion import CompletionItem

from task_status_service.client.exit_codes import ClientError
from task_status_service.client.session import DEFAULT_URL, connect
from task_status_service.client.states import TASK_STATES


def complete_task_types(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of task types; without retries, so that the shell never waits for the service."""
    try:
        client = connect(context.params.get("url") or DEFAULT_URL, context.params.get("key"))
        types = client.task_types(retry_seconds=0)
    except (ClientError, click.ClickException):
        return []
    from task_status_service.client import display  # noqa: PLC0415  # installed if `connect` returned

    return [
        CompletionItem(each["name"], help=display.plain((each["doc"] or "").partition("\n")[0]))
        for each in types
        if each["name"].startswith(incomplete)
    ]


def complete_states(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete names of task states."""
    return [CompletionItem(state) for state in TASK_STATES if state.startswith(incomplete)]
