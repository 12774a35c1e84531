"""A page of the task list, for few and for many tasks: two servers, each with its own Redis database."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import redis
from task_status_worker.record.codec import NOTE_SCRIPT, note_call
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

from bench.load import Measured, measure
from bench.processes import running_server

FEW: Final = 1_000
MANY: Final = 1_000_000
#: one of this many tasks has failed: more than one page even of the few
_FAILED_OF: Final = 10
LIMIT: Final = 50
_PATH: Final = f"/tasks?state=failed&limit={LIMIT}"
_NOTES_PER_TRIP: Final = 5_000


def measure_pages(redis_url: str, folder: Path, *, rounds: int, seconds: int) -> Mapping[int, list[Measured]]:
    """Record `FEW` and `MANY` tasks, then read a page of each in turn."""
    found: dict[int, list[Measured]] = {FEW: [], MANY: []}
    with contextlib.ExitStack() as stack:
        addresses = {}
        for database, count in enumerate(found, 1):
            url = f"{redis_url.rpartition('/')[0]}/{database}"
            _record(url, count)
            environ = {"TASK_STATUS_REDIS_URL": url}
            server = running_server(
                f"pages-{count}", ["task_status_service.cli", "serve"], environ=environ, folder=folder
            )
            addresses[count] = stack.enter_context(server).url + _PATH
        for _ in range(rounds + 1):
            for count, address in addresses.items():
                found[count].append(measure(address, seconds=seconds))
    # The first round is a warm-up.
    return {count: measured[1:] for count, measured in found.items()}


def _record(url: str, count: int) -> None:
    with redis.Redis.from_url(url) as client:
        script = client.script_load(NOTE_SCRIPT)
        for first in range(0, count, _NOTES_PER_TRIP):
            pipeline = client.pipeline(transaction=False)
            for note in _notes(first, min(first + _NOTES_PER_TRIP, count)):
                keys, arguments = note_call(note, keys=Keys(), retention=Retention())
                pipeline.evalsha(script, len(keys), *keys, *arguments)
            pipeline.execute()


def _notes(first: int, end: int) -> Iterator[Note]:
    for number in range(first, end):
        outcome = "SUCCESS" if number % _FAILED_OF else "FAILURE"
        yield Note(task_id=f"task-{number}", fact=Fact.FINISHED, name="bench.resize", queue="celery", outcome=outcome)
