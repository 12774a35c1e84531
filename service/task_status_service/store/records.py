"""Records and Celery's results in Redis: one round trip per read, one script per write. Nothing is decoded here."""

import hashlib
import importlib.resources
import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import redis
from task_status_worker.record.codec import (
    NOTE_SCRIPT,
    SHARED_SCRIPT,
    named,
    note_call,
    note_script_after,
    script_of,
)
from task_status_worker.record.connection import connect
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Note

from task_status_service.status import MAX_STORED_BYTES, Snapshot
from task_status_service.store.errors import NamedErrors
from task_status_service.store.heartbeats import Command, Heartbeats
from task_status_service.store.index import Index
from task_status_service.store.pipelined_reader import Reader
from task_status_service.store.script_heads import ForgetHead, MarkFailedHead
from task_status_service.store.server_info import durability_warnings_of, warnings_of
from task_status_service.store.wrong_types import WrongTypes
from task_status_service.use_cases.listing import Filter, IndexPage, Position
from task_status_service.use_cases.readiness import StoreReport

#: seconds of one attempt. A second attempt over a new connection follows, because the server may have restarted: at
#: most 0.8 s. With 1 s of the broker (broker.py) a submission takes less than 2 s. redis-py's defaults wait up to 59 s
#: for a stalled server
SOCKET_SECONDS: Final = 0.4
RETRIES: Final = 1
#: connections of one process
MAX_CONNECTIONS: Final = 64
#: size limit of a meta in a shared read; a larger one is read over a separate connection, and delays no other caller
GATHERED_BYTES: Final = 65_536
#: tasks of a list that form one read, so that reads of other callers do not wait for the whole list
TASKS_PER_READ: Final = 20

_SCRIPTS: Final = importlib.resources.files(__package__) / "lua"
_MARK_FAILED_SCRIPT: Final = note_script_after(_SCRIPTS.joinpath("mark_failed.lua").read_text(encoding="utf-8"))
_FORGET_SCRIPT: Final = SHARED_SCRIPT + script_of(_SCRIPTS.joinpath("forget.lua").read_text(encoding="utf-8"))
_READ_SCRIPT: Final = script_of(_SCRIPTS.joinpath("read.lua").read_text(encoding="utf-8"))
# SHA-1 is the digest by which Redis names scripts; it is not used for security.
_READ_SHA: Final = hashlib.sha1(_READ_SCRIPT.encode(), usedforsecurity=False).hexdigest()


def connect_to(url: str, *, sentinel_master: str) -> redis.Redis:
    """Return a client for a store; it connects on first use."""
    return connect(
        url,
        timeout_seconds=SOCKET_SECONDS,
        retries=RETRIES,
        max_connections=MAX_CONNECTIONS,
        sentinel_master=sentinel_master,
    )


class RedisStore:
    """The records in one Redis, and Celery's results in the same or another Redis."""

    def __init__(
        self,
        records: redis.Redis,
        *,
        results: redis.Redis | None,
        keys: Keys,
        retention: Retention,
        heartbeats: Heartbeats | None = None,
    ) -> None:
        """Create a store; `results` is None if one Redis holds both. With two, a read takes two round trips."""
        self._records = records
        self._results = results
        self._keys = keys
        self._retention = retention
        self._heartbeats = heartbeats or Heartbeats(keys)
        self._wrong_types = WrongTypes(keys)
        self._named_errors = NamedErrors(
            records,
            on_unavailable=self._heartbeats.mark_unreachable,
            find_wrong_types=lambda: self._wrong_types.describe(records),
        )
        self._reader = Reader(records, heartbeats=self._heartbeats)
        self._results_reader = Reader(results) if results is not None else None
        self._index = Index(records, keys=keys)
        self._note_script = records.register_script(NOTE_SCRIPT)
        self._mark_failed_script = records.register_script(_MARK_FAILED_SCRIPT)
        self._forget_script = records.register_script(_FORGET_SCRIPT)

    def read(self, task_id: str) -> Snapshot:
        """Read the record, then Celery's meta.

        A worker writes the meta first and the record last, so the record of a finished task comes with the result.
        """
        with self._named_errors():
            [(record, meta)] = self._read_groups([[task_id]])
            if isinstance(meta, bytes) and len(meta) > GATHERED_BYTES:
                meta = self._read_large(task_id)
        return self._snapshot(task_id, record, meta)

    def read_many(self, task_ids: Sequence[str]) -> Iterator[Snapshot]:
        """Read records and Celery's metas, each record before its meta, in one round trip.

        A meta of more than `GATHERED_BYTES` is read separately when the iterator reaches it, so that a page of huge
        metas is not in memory at once.
        """
        if not task_ids:
            return iter(())
        groups = [task_ids[first : first + TASKS_PER_READ] for first in range(0, len(task_ids), TASKS_PER_READ)]
        with self._named_errors():
            found = self._read_groups(groups)
        return (
            self.read(task_id)
            if isinstance(meta, bytes) and len(meta) > GATHERED_BYTES
            else self._snapshot(task_id, record, meta)
            for task_id, (record, meta) in zip(task_ids, found, strict=True)
        )

    def _read_groups(self, groups: Sequence[Sequence[str]]) -> list[tuple[Any, Any]]:
        """Return the record and the meta of each task of each group, as read.lua returns them; one script per group."""
        answers = self._run_reads(groups)
        if self._results_reader is None:
            flat = list(itertools.chain.from_iterable(answers))
            return list(zip(flat[::2], flat[1::2], strict=True))
        records = itertools.chain.from_iterable(answers)
        commands = [[("GETRANGE", self._keys.meta(one), 0, GATHERED_BYTES) for one in group] for group in groups]
        metas = list(itertools.chain.from_iterable(self._results_reader.read_all(commands)))
        return list(zip(records, map(_meta_of, metas), strict=True))

    def _run_reads(self, groups: Sequence[Sequence[str]]) -> list[Any]:
        """Run read.lua for each group; in full where Redis does not have it, such as after a restart."""
        answers = [answer for (answer,) in self._reader.read_all([[self._read_command(group)] for group in groups])]
        if any(map(_is_missing_script, answers)):
            commands = [[self._read_command(group, in_full=True)] for group in groups]
            answers = [answer for (answer,) in self._reader.read_all(commands)]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _read_command(self, task_ids: Sequence[str], *, in_full: bool = False) -> Command:
        keys = self._keys
        names = [keys.record(task_id) for task_id in task_ids]
        if self._results_reader is None:
            names += [keys.meta(task_id) for task_id in task_ids]
        script = ("EVAL", _READ_SCRIPT) if in_full else ("EVALSHA", _READ_SHA)
        # GATHERED_BYTES is the index of the last byte: one more than the limit, to detect a larger meta.
        return (*script, len(names), *names, len(task_ids), GATHERED_BYTES)

    def _read_large(self, task_id: str) -> Any:
        """Read a large meta over a separate connection, up to one byte above the limit, to detect its excess."""
        pipeline = (self._results or self._records).pipeline(transaction=False)
        pipeline.getrange(self._keys.meta(task_id), 0, MAX_STORED_BYTES)
        (meta,) = pipeline.execute(raise_on_error=False)
        return _meta_of(meta)

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Read the ids of one page of the index, newest first, in one round trip of bounded cost."""
        with self._named_errors():
            return self._index.page(wanted, limit=limit, after=after)

    def _snapshot(self, task_id: str, record: list[bytes], meta: bytes | None) -> Snapshot:
        # read.lua returns only the owner of an expired record.
        is_expired = len(record) == 1
        fields = {} if is_expired else named(record)
        return Snapshot(
            task_id=task_id,
            record=fields,
            meta=meta or None,
            wrong_type=meta is None,
            known=is_expired or bool(fields),
            known_owner=record[0] if is_expired else b"",
            seconds_since_heartbeat=self._heartbeats.seconds_since_heartbeat(fields),
        )

    def now(self) -> datetime:
        """Return the present time by the Redis clock, from a read that is at most a second old."""
        if self._heartbeats.is_due:
            with self._named_errors():
                self._reader.read(("PING",))
        return self._heartbeats.store_time

    def note(self, note: Note) -> datetime:
        """Write one fact by the script that all writers share; return its time by the Redis clock."""
        keys, args = note_call(note, keys=self._keys, retention=self._retention)
        with self._named_errors():
            *_, noted_ms = self._note_script(keys=keys, args=args)
        return datetime.fromtimestamp(noted_ms / 1000, UTC)

    def mark_failed(self, note: Note, found: Snapshot, *, lost_after_seconds: float) -> bool:
        """Write a note, unless the task has changed since the snapshot; return False if it has.

        A change is another note, a heartbeat of its worker within `lost_after_seconds`, or another meta of Celery's.
        """
        call = note_call(note, keys=self._keys, retention=self._retention)
        keys = [*call.keys, self._keys.workers]
        if self._results is None:
            keys.append(self._keys.meta(note.task_id))
        head = MarkFailedHead(
            lost_after_seconds=round(lost_after_seconds),
            # SHA-1 is not used for security here: Redis scripts offer no other digest.
            meta_sha1=hashlib.sha1(found.meta or b"", usedforsecurity=False).hexdigest(),
            meta_bytes=MAX_STORED_BYTES,
        )
        seen = [found.seq, found.instance]
        args = [msgspec.json.encode(head), *seen, *call.args]
        with self._named_errors():
            return self._mark_failed_script(keys=keys, args=args) is not None

    def forget(self, done: Snapshot) -> bool:
        """Delete all data of a task that was read as done; return False if it has changed since and is not final.

        If another Redis holds the results, the meta is deleted last, in a second round trip: if that fails, the task
        still reads as done, and can be forgotten again.
        """
        task_id = done.task_id
        keys = [self._keys.record(task_id), self._keys.call(task_id)]
        if self._results is None:
            keys.append(self._keys.meta(task_id))
        head = ForgetHead(id=task_id, names=self._keys.names)
        with self._named_errors():
            is_forgotten = bool(self._forget_script(keys=keys, args=[msgspec.json.encode(head), done.seq]))
            if is_forgotten and self._results is not None:
                self._results.delete(self._keys.meta(task_id))
        return is_forgotten

    def report(self) -> StoreReport:
        """Return the health of the store, read in one round trip."""
        with self._named_errors():
            pipeline: Any = self._records.pipeline(transaction=False)
            for command in self._heartbeats.commands(at_once=True):
                pipeline.execute_command(*command)
            pipeline.time()
            pipeline.config_get("save")
            self._wrong_types.add_to(pipeline)
            answers = pipeline.execute(raise_on_error=False)
            *heartbeats, time_, config = answers[: -self._wrong_types.count]
            self._heartbeats.update(heartbeats)
            if isinstance(time_, Exception):
                raise time_
        # Managed Redis services forbid CONFIG.
        save = None if isinstance(config, Exception) else config.get("save")
        info, newest_at = self._heartbeats.info, self._heartbeats.newest_at
        return StoreReport(
            worker_seen_seconds=None if newest_at is None else max(0.0, time_[0] - newest_at),
            epoch=self._heartbeats.epoch,
            durability_warnings=durability_warnings_of(info, save=save),
            warnings=[
                *self._heartbeats.warnings,
                *warnings_of(info, save=save),
                *self._wrong_types.warnings(answers[-self._wrong_types.count :]),
            ],
        )

    def publishers(self) -> list[redis.Redis]:
        """Return a client for each Redis that publishes changes of tasks."""
        return [self._records] if self._results is None else [self._records, self._results]

    def close(self) -> None:
        """Close every connection."""
        self._reader.close()
        self._records.close()
        if self._results is not None and self._results_reader is not None:
            self._results_reader.close()
            self._results.close()


def _is_missing_script(answer: Any) -> bool:
    return isinstance(answer, redis.ResponseError) and str(answer).startswith("NOSCRIPT")


def _meta_of(answer: Any) -> bytes | None:
    """Return a meta; None if its key has another type."""
    if not isinstance(answer, Exception):
        return bytes(answer)
    if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
        return None
    raise answer
