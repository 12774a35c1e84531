"""The recorder's Redis client: short timeouts, no retries, and two kinds of errors."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import redis

from task_status_worker.record.announcement import Announced
from task_status_worker.record.codec import FIELDS, NOTE_SCRIPT, unpack_answer
from task_status_worker.record.connection import connect
from task_status_worker.record.keys import SEEN_SECONDS
from task_status_worker.record.model import Fact, Noted
from task_status_worker.recorder import Flags, Refused, Unreachable

#: seconds that connecting, and one command, may take
TIMEOUT_SECONDS: Final = 0.4

#: stored names of the fields from which `flags` reads
_FLAGS: Final = tuple(FIELDS[name] for name in ("fact", "final", "cancel_requested", "terminate"))

_SEE_WORKER_SCRIPT: Final = """
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local added = redis.call('ZADD', KEYS[1], time[1] .. '.' .. string.format('%06d', time[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(time[1]) - tonumber(ARGV[2]))
return added
"""

#: Redis answers but rejects writes: its memory is full, or it has become a replica
_PASSING_ERRORS: Final = (redis.exceptions.OutOfMemoryError, redis.exceptions.ReadOnlyError)
#: the same, a failed save to disk, or too few replicas; in the texts of redis-py for a command, for one of a pipeline,
#: and for a script before Redis 7
_PASSING: Final = re.compile(r"(?:^|caused error: |: -)(?:OOM|READONLY|MISCONF|NOREPLICAS) ")


def takes_no_writes(error: Exception) -> bool:
    """Return whether Redis rejects all writes at present and may accept the same one later."""
    if isinstance(error, _PASSING_ERRORS):
        return True
    return isinstance(error, redis.ResponseError) and _PASSING.search(str(error)) is not None


class RedisRecordClient:
    """A connection of a recorder to one Redis. Connects on first use."""

    def __init__(self, url: str, *, sentinel_master: str | None = None) -> None:
        self._redis = connect(url, timeout_seconds=TIMEOUT_SECONDS, sentinel_master=sentinel_master)
        self._note = self._redis.register_script(NOTE_SCRIPT)
        self._see_worker = self._redis.register_script(_SEE_WORKER_SCRIPT)

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        """Run `NOTE_SCRIPT`."""
        with _two_errors():
            answer = self._note(keys=keys, args=args)
        return unpack_answer(answer)

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        """Return the flags of some records, in their order; an unreadable record has none."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, *_FLAGS)
        with _two_errors():
            # A key of another type must not hide the others.
            answers = pipeline.execute(raise_on_error=False)
        return [_flags_of(answer) if isinstance(answer, list) else Flags() for answer in answers]

    def see_worker(self, key: str, instance: str) -> bool:
        """Store a heartbeat by the Redis clock, and delete instances without one for a day."""
        with _two_errors():
            return bool(self._see_worker(keys=[key], args=[instance, SEEN_SECONDS]))

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        """Store entries with the time of the Redis clock, and delete those older than `keep_seconds`."""
        client: Any = self._redis  # redis-py types every command as sync or async
        with _two_errors():
            now = client.time()[0]
            entries = entries_at(now)
            if entries:
                client.hset(key, mapping=entries)
            old = [name for name, stored in client.hgetall(key).items() if _is_older(stored, now - keep_seconds)]
            if old:
                client.hdel(key, *old)


def _flags_of(stored: list[bytes | None]) -> Flags:
    fact, *flags = stored
    return Flags(fact == Fact.STARTED.value.encode(), *(flag == b"1" for flag in flags))


def _is_older(stored: bytes, at: int) -> bool:
    try:
        return msgspec.json.decode(stored, type=Announced).announced_at < at
    except msgspec.MsgspecError:
        return True


@contextlib.contextmanager
def _two_errors() -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        raise (Unreachable if takes_no_writes(error) else Refused)(error) from error
    except redis.DataError as error:
        # redis-py cannot encode an argument, which no later attempt changes.
        raise Refused(error) from error
    except (redis.RedisError, OSError) as error:
        raise Unreachable(error) from error
