"""Follow a task to its end: by its event stream, and by polling where there is none."""

from collections.abc import Iterator
from typing import Final

from task_status_service.client.api_client import PATIENCE_SECONDS, Client, NoStream, Task

#: for how long a service is waited for that does not answer any more
LONG_PATIENCE_SECONDS: Final = 60.0
#: between a stream that has ended and the next one
_PAUSE_SECONDS: Final = 1.0


def follow(client: Client, task_id: str) -> Iterator[Task]:
    """Give each new status of a task; the last one is done.

    Streams end now and then, and go on where they were. One that tells nothing, as behind a proxy that collects, is no
    stream.

    Raises:
        ClientError: there is no such task, or the service is away for longer than `LONG_PATIENCE_SECONDS`;
            one that never answered for less.
    """
    last_id = None
    while True:
        was_told = False
        try:
            for event in client.events(task_id, last_id):
                was_told = True
                last_id = event.id
                yield event.task
                if event.task["done"]:
                    return
        except NoStream:
            break
        if not was_told:
            break
        client.sleep(_PAUSE_SECONDS)
    yield from _poll(client, task_id, patience_seconds=PATIENCE_SECONDS if last_id is None else LONG_PATIENCE_SECONDS)


def _poll(client: Client, task_id: str, *, patience_seconds: float) -> Iterator[Task]:
    """Ask again and again, as often as the service likes."""
    version = None
    while True:
        task, version, after = client.poll(task_id, version, patience_seconds=patience_seconds)
        patience_seconds = LONG_PATIENCE_SECONDS
        if task is not None:
            yield task
            if task["done"]:
                return
        client.sleep(after)
