"""Redis: records and Celery's results, read in one round trip, written by one script. Nothing here decodes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, cast

import redis
from task_status_worker.connection import connect
from task_status_worker.record import NOTE_SCRIPT, Keys, Note, Retention, note_call

from task_status_service.errors import StoreFull, StoreUnavailable
from task_status_service.reader import Reader
from task_status_service.status import MAX_STORED_BYTES, Snapshot

#: One attempt and one more over a new connection, for a server that has restarted: at most 0.8 s. With the broker's
#: second (broker.py) a submission stays under two. redis-py's own defaults wait up to 59 s on a stalled server.
SOCKET_SECONDS: Final = 0.4
RETRIES: Final = 1
#: connections of one process
MAX_CONNECTIONS: Final = 64
#: the most of a meta that is read together with others'; what is longer is read by itself, so that it holds up nobody
GATHERED_BYTES: Final = 65_536


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
        self._reader = Reader(records)
        self._results_reader = Reader(results) if results is not None else None
        self._note_script = records.register_script(NOTE_SCRIPT)

    def read(self, task_id: str) -> Snapshot:
        """Read the record and Celery's meta, the record first.

        A worker writes the meta first and the record last: so a record that says it has ended comes with the result.
        """
        record_command = ("HGETALL", self._keys.record(task_id))
        known_command = ("EXISTS", self._keys.known(task_id))
        # GETRANGE bounds what is sent whatever is stored, and its error tells a key that is not a string.
        meta_command = ("GETRANGE", self._keys.meta(task_id), 0, GATHERED_BYTES)
        with _named_errors():
            if self._results_reader is None:
                record, known, meta = self._reader.read(record_command, known_command, meta_command)
            else:
                record, known = self._reader.read(record_command, known_command)
                (meta,) = self._results_reader.read(meta_command)
            for answer in (record, known, meta):
                if isinstance(answer, Exception) and not _is_wrong_type(answer):
                    raise answer
            wrong_type = isinstance(meta, Exception)
            if not wrong_type and len(meta) > GATHERED_BYTES:
                meta, wrong_type = self._read_large(task_id)
        return Snapshot(
            task_id=task_id,
            record=_fields(record),
            meta=None if wrong_type else meta or None,
            wrong_type=wrong_type,
            known=bool(known),
        )

    def _read_large(self, task_id: str) -> tuple[bytes | None, bool]:
        """Read a large meta over a connection of its own: one byte more than is decoded, to see what is too large."""
        client = self._results or self._records
        try:
            return cast("bytes", client.getrange(self._keys.meta(task_id), 0, MAX_STORED_BYTES)), False
        except redis.ResponseError as error:
            # It was a string a moment ago.
            if not _is_wrong_type(error):
                raise
            return None, True

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

    def close(self) -> None:
        """Close every connection."""
        self._reader.close()
        self._records.close()
        if self._results is not None and self._results_reader is not None:
            self._results_reader.close()
            self._results.close()


def _fields(record: Any) -> Mapping[bytes, bytes]:
    """Give a record's fields, in whichever protocol Redis answered; only we write records, any other type is none."""
    if isinstance(record, dict):
        return record
    if isinstance(record, list):
        return dict(zip(record[::2], record[1::2], strict=True))
    return {}


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
