"""Redis: records and Celery's results, read in one round trip, written by one script. Nothing here decodes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import redis
from task_status_worker.connection import connect
from task_status_worker.record import NOTE_SCRIPT, Keys, Note, Retention, note_call

from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.status import MAX_STORED_BYTES, Snapshot

#: One attempt and one more over a new connection, for a server that has restarted: at most 0.8 s. With the broker's
#: second (broker.py) a submission stays under two. redis-py's own defaults wait up to 59 s on a stalled server.
SOCKET_SECONDS: Final = 0.4
RETRIES: Final = 1
#: connections of one process
MAX_CONNECTIONS: Final = 64


def connect_to(url: str, *, sentinel_master: str) -> redis.Redis:
    """Make a client for a store; nothing is opened until it is used."""
    return connect(
        url,
        timeout_seconds=SOCKET_SECONDS,
        retries=RETRIES,
        max_connections=MAX_CONNECTIONS,
        sentinel_master=sentinel_master,
    )


class RedisStore:
    """Keep records in one Redis, and read Celery's results from the same or another one."""

    def __init__(self, records: redis.Redis, *, results: redis.Redis | None, keys: Keys, retention: Retention) -> None:
        """Take the client for records, and one for results if they are elsewhere: reading then takes two trips."""
        self._records = records
        self._results = results
        self._keys = keys
        self._retention = retention
        self._note_script = records.register_script(NOTE_SCRIPT)

    def read(self, task_id: str) -> Snapshot:
        """Read one task: see `read_many`."""
        return self.read_many([task_id])[0]

    def read_many(self, task_ids: Sequence[str]) -> list[Snapshot]:
        """Read the records of some tasks and Celery's metas, in one round trip, each record before its meta.

        A worker writes the meta first and the record last: so a record that says it has ended comes with the result.
        """
        with _named_errors():
            pipeline = self._records.pipeline(transaction=False)
            for task_id in task_ids:
                pipeline.hgetall(self._keys.record(task_id))
                pipeline.exists(self._keys.known(task_id))
            if self._results is None:
                answers = _answers(self._read_metas(pipeline, task_ids))
            else:
                answers = _answers(pipeline)
                answers += _answers(self._read_metas(self._results.pipeline(transaction=False), task_ids))
        metas = answers[2 * len(task_ids) :]
        return [
            _snapshot(task_id, answers[2 * position], answers[2 * position + 1], metas[position])
            for position, task_id in enumerate(task_ids)
        ]

    def _read_metas(self, pipeline: Any, task_ids: Sequence[str]) -> Any:
        """Add the reading of metas: one byte more than is decoded, so that what is too large is seen as such.

        GETRANGE bounds what is sent whatever is stored, and its error tells a key that is not a string.
        """
        for task_id in task_ids:
            pipeline.getrange(self._keys.meta(task_id), 0, MAX_STORED_BYTES)
        return pipeline

    def note(self, note: Note) -> datetime:
        """Write one fact by the script that all writers share; give its time by the Redis clock."""
        keys, args = note_call(note, keys=self._keys, retention=self._retention)
        with _named_errors():
            *_, noted_ms = self._note_script(keys=keys, args=args)
        return datetime.fromtimestamp(noted_ms / 1000, UTC)

    def announcements(self) -> tuple[float, Mapping[bytes, bytes]]:
        """Read what task types the workers announced, and the time by the Redis clock, in seconds."""
        with _named_errors():
            pipeline = self._records.pipeline(transaction=False)
            pipeline.time()
            pipeline.hgetall(self._keys.task_types)
            (seconds, _), announced = pipeline.execute()
        return float(seconds), announced

    def worker_seen_seconds(self) -> float | None:
        """Tell how long ago a worker was last seen, by the Redis clock; None if never."""
        with _named_errors():
            pipeline = self._records.pipeline(transaction=False)
            pipeline.time()
            pipeline.zrange(self._keys.workers, 0, 0, desc=True, withscores=True)
            (seconds, _), newest = pipeline.execute()
        return max(0.0, seconds - newest[0][1]) if newest else None

    def publishers(self) -> list[redis.Redis]:
        """Give the clients of each Redis that publishes what happens to tasks."""
        return [self._records] if self._results is None else [self._records, self._results]

    def close(self) -> None:
        """Close every connection."""
        self._records.close()
        if self._results is not None:
            self._results.close()


def _answers(pipeline: Any) -> list[Any]:
    """Send a pipeline; of its errors only that a key is of another type is an answer."""
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception) and not _is_wrong_type(answer):
            raise answer
    return answers


def _snapshot(task_id: str, record: Any, known: Any, meta: Any) -> Snapshot:
    return Snapshot(
        task_id=task_id,
        # Only we write records; a key of that name that is none holds no record.
        record={} if isinstance(record, Exception) else record,
        meta=None if isinstance(meta, Exception) else meta or None,
        wrong_type=isinstance(meta, Exception),
        known=bool(known),
    )


def _is_wrong_type(answer: Exception) -> bool:
    return isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE")


@contextmanager
def _named_errors() -> Iterator[None]:
    """Turn whatever redis-py raises into the errors that this service names."""
    try:
        yield
    except redis.OutOfMemoryError as error:
        raise StoreFull from error
    except (redis.RedisError, OSError) as error:
        raise (StoreFull if "OOM" in str(error) else StoreUnavailable) from error
