"""Follow a task until it is done: by its event stream, or by polling if there is no stream."""

from collections.abc import Iterator
from typing import Final

from task_status_service.client.api_client import Client, StreamUnavailable
from task_status_service.client.event_stream import Task

#: pause between the end of a stream and the next stream, in seconds
_PAUSE_SECONDS: Final = 1.0


def follow(client: Client, task_id: str) -> Iterator[Task]:
    """Yield each new status of a task until it is done.

    A stream that ends early is resumed after its last event. A stream without any event falls back to polling: some
    proxies buffer event streams.

    Raises:
        ClientError: The task does not exist, or the service was unavailable for `Retries.long_seconds`
            (`Retries.seconds` if it never sent an event).
    """
    last_id = None
    while True:
        had_event = False
        try:
            for event in client.events(task_id, last_id):
                had_event = True
                last_id = event.id
                yield event.task
                if event.task["done"]:
                    return
        except StreamUnavailable:
            break
        if not had_event:
            break
        client.sleep(_PAUSE_SECONDS)
    retries = client.retries
    yield from _poll(client, task_id, retry_seconds=retries.seconds if last_id is None else retries.long_seconds)


def _poll(client: Client, task_id: str, *, retry_seconds: float) -> Iterator[Task]:
    """Read the task at the interval of the service's Retry-After header."""
    version = None
    while True:
        task, version, pause_seconds = client.poll(task_id, version, retry_seconds=retry_seconds)
        retry_seconds = client.retries.long_seconds
        if task is not None:
            yield task
            if task["done"]:
                return
        client.sleep(pause_seconds)
