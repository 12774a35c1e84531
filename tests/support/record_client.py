"""A record client in memory, for tests of the recorder. It passes the same tests as the Redis client."""

from collections.abc import Callable, Mapping, Sequence

import msgspec
from task_status_worker.record.announcement import Announced
from task_status_worker.record.keys import SEEN_SECONDS
from task_status_worker.record.model import Denial, Noted
from task_status_worker.recorder import Flags, Refused, Seen, Unreachable

from support import note_model
from support.note_model import Hash, Written


class FakeClient:
    """A fake Redis that can be unreachable, refuse the notes of a task, or raise an unexpected error."""

    def __init__(self) -> None:
        self.away = False
        self.broken = False
        #: names of tasks whose notes are refused
        self.refuses: set[str] = set()
        #: names of tasks whose notes raise an unexpected error
        self.breaks: set[str] = set()
        #: calls so far, including those that failed
        self.attempts = 0
        #: the time of this Redis, as a Unix time in seconds
        self.now = 7.0
        #: record by key; None for a key of another type
        self.records: dict[str, Hash | None] = {}
        self.hashes: dict[str, dict[str, bytes]] = {}
        self.sorted_sets: dict[str, dict[str, float]] = {}
        #: task id and age in milliseconds of each note, in the order of writing
        self.written: list[tuple[str, int]] = []
        #: fact of each note, and whether it requested a start
        self.facts: list[tuple[str, bool]] = []
        #: key and instance of each heartbeat
        self.workers: list[str] = []
        #: the answer to every start request
        self.denial: Denial | None = None
        #: flags of tasks, in place of those of their records
        self.flags_of: dict[str, Flags] = {}

    @property
    def ids(self) -> list[str]:
        """The task ids of all notes, in the order of writing."""
        return [task_id for task_id, _ in self.written]

    @property
    def announced(self) -> dict[str, bytes]:
        """All announcements, by task type or worker instance."""
        return {name: entry for entries in self.hashes.values() for name, entry in entries.items()}

    def lose_data(self) -> None:
        """Delete the worker instances, as a Redis without persistence does on a restart."""
        self.sorted_sets.clear()
        self.workers.clear()

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        written = Written.of_args(args)
        head = written.head
        self._answer(head.id)
        old = self.records.get(keys[0]) or {}
        self.records[keys[0]], answer = note_model.write(old, written, round(self.now * 1000) - head.age_ms)
        self.written.append((head.id, head.age_ms))
        self.facts.append((head.fact, head.start is not None))
        return msgspec.structs.replace(answer, denial=self.denial or answer.denial)

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        self._answer("flags")
        return [self.flags_of.get(key.rsplit(":", 1)[1]) or _flags(self.records.get(key) or {}) for key in keys]

    def see_worker(self, key: str, instance: str, *, announced: Sequence[str], repairs: str) -> Seen:
        self._answer(instance)
        if self.records.get(key, {}) is None:
            self.hashes.setdefault(repairs, {})[key] = b"string"
            del self.records[key]
            raise Refused("a key of another type")
        seen = self.sorted_sets.setdefault(key, {})
        consumers, task_types = ({} if one in self.records else self.hashes.get(one, {}) for one in announced)
        is_new = not (instance in seen and instance in consumers and task_types)
        self.now += 1e-3
        seen[instance] = self.now
        self.workers.append(f"{key} {instance}")
        for name in [name for name, at in seen.items() if at <= int(self.now) - SEEN_SECONDS]:
            del seen[name]
        return Seen(is_new, self.now)

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        self._answer(key)
        if self.records.get(key, {}) is None:
            del self.records[key], self.hashes[key]
        entries = self.hashes.setdefault(key, {})
        entries.update(entries_at(int(self.now)))
        for name in [name for name, entry in entries.items() if _is_older(entry, int(self.now) - keep_seconds)]:
            del entries[name]

    def _answer(self, name: str) -> None:
        self.attempts += 1
        if self.broken or name in self.breaks:
            raise RuntimeError("broken")
        if self.away:
            raise Unreachable("away")
        if name in self.refuses:
            raise Refused("no")


def _flags(record: Mapping[bytes, bytes]) -> Flags:
    return Flags(
        running=record.get(b"fact") == b"STARTED",
        final=record.get(b"final") == b"1",
        cancel_requested=record.get(b"cancel_requested") == b"1",
        terminate=record.get(b"terminate") == b"1",
    )


def _is_older(entry: bytes, at: int) -> bool:
    try:
        return msgspec.json.decode(entry, type=Announced).announced_at < at
    except msgspec.MsgspecError:
        return True
