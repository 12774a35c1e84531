"""The recorder's Redis client: short timeouts, no retries, and two kinds of errors."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import redis

from task_status_worker.record.announcement import MAX_CONSUMER_BYTES, MAX_TASK_TYPE_BYTES
from task_status_worker.record.codec import FIELDS, NOTE_SCRIPT, unpack_answer
from task_status_worker.record.connection import connect
from task_status_worker.record.keys import SEEN_SECONDS
from task_status_worker.record.model import Fact, Noted
from task_status_worker.recorder import Flags, Refused, Seen, Unreachable

#: seconds that connecting, and one command, may take
TIMEOUT_SECONDS: Final = 0.4

#: stored names of the fields from which `flags` reads
_FLAGS: Final = tuple(FIELDS[name] for name in ("fact", "final", "cancel_requested", "terminate"))

#: an instance is new without its announcement too: another program may have deleted or overwritten the keys
_SEE_WORKER_SCRIPT: Final = """
if redis.replicate_commands then redis.replicate_commands() end
local time = redis.call('TIME')
local added = redis.call('ZADD', KEYS[1], time[1] .. '.' .. string.format('%06d', time[2]), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', tonumber(time[1]) - tonumber(ARGV[2]))
local is_announced = redis.pcall('HEXISTS', KEYS[2], ARGV[1]) == 1 and redis.call('TYPE', KEYS[3]).ok == 'hash'
return {is_announced and added or 1, time[1], time[2]}
"""

#: delete a key that another program has overwritten, and keep its name and type for a day, as shared.lua does
_REPAIR_SCRIPT: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == ARGV[1] or kind == 'none' then return end
redis.call('UNLINK', KEYS[1])
if redis.call('TYPE', KEYS[2]).ok ~= 'hash' then redis.call('UNLINK', KEYS[2]) end
if redis.call('HLEN', KEYS[2]) < 20 then redis.call('HSET', KEYS[2], KEYS[1], kind) end
redis.call('EXPIRE', KEYS[2], 86400)
"""

#: entries that one announcement writes in one round trip, and stored entries that it checks for their age
_ANNOUNCED_AT_ONCE: Final = 100
_CHECKED_ENTRIES: Final = 100
#: the time in an announcement, which is its last member, is matched as text: decoding would take longer
_ANNOUNCE_SCRIPT: Final = """
if redis.replicate_commands then redis.replicate_commands() end
local count = redis.pcall('HLEN', KEYS[1])
if type(count) == 'table' then
  if not string.find(count.err, 'WRONGTYPE', 1, true) then return count end
  redis.call('DEL', KEYS[1])
end
for i = 4, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end

local checked, oldest, most_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local names
if redis.call('HLEN', KEYS[1]) <= checked then
  names = redis.call('HKEYS', KEYS[1])
else
  names = redis.call('HRANDFIELD', KEYS[1], checked)
end
for _, name in ipairs(names) do
  local at
  if redis.call('HSTRLEN', KEYS[1], name) <= most_bytes then
    at = string.match(redis.call('HGET', KEYS[1], name), '.*"announced_at": *(%d+)')
  end
  if not at or tonumber(at) < oldest then redis.call('HDEL', KEYS[1], name) end
end
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
        self._announce = self._redis.register_script(_ANNOUNCE_SCRIPT)
        self._see_worker = self._redis.register_script(_SEE_WORKER_SCRIPT)
        self._repair = self._redis.register_script(_REPAIR_SCRIPT)

    def note(self, keys: list[str], args: list[str | bytes]) -> Noted:
        """Run `NOTE_SCRIPT`."""
        with _two_errors(self._close_idle):
            answer = self._note(keys=keys, args=args)
        return unpack_answer(answer)

    def flags(self, keys: Sequence[str]) -> list[Flags]:
        """Return the flags of some records, in their order; an unreadable record has none."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.hmget(key, *_FLAGS)
        with _two_errors(self._close_idle):
            # A key of another type must not hide the others.
            answers = pipeline.execute(raise_on_error=False)
        return [_flags_of(answer) if isinstance(answer, list) else Flags() for answer in answers]

    def see_worker(self, key: str, instance: str, *, announced: Sequence[str], repairs: str) -> Seen:
        """Store a heartbeat by the Redis clock, and delete instances without one for a day."""
        with _two_errors(self._close_idle), self._repaired(key, "zset", repairs):
            added, seconds, micros = self._see_worker(keys=[key, *announced], args=[instance, SEEN_SECONDS])
        return Seen(bool(added), int(seconds) + int(micros) / 1e6)

    def announce(self, key: str, entries_at: Callable[[int], Mapping[str, bytes]], *, keep_seconds: int) -> None:
        """Store entries with the time of the Redis clock, and delete entries that are older than `keep_seconds`.

        A limited number of stored entries is checked each time, because a hash may have any number. A key of another
        type is replaced.
        """
        client: Any = self._redis  # redis-py types every command as sync or async
        with _two_errors(self._close_idle):
            now = client.time()[0]
            entries = list(entries_at(now).items())
            head = [_CHECKED_ENTRIES, now - keep_seconds, max(MAX_TASK_TYPE_BYTES, MAX_CONSUMER_BYTES)]
            for first in range(0, max(1, len(entries)), _ANNOUNCED_AT_ONCE):
                some: Iterator[Any] = itertools.chain.from_iterable(entries[first : first + _ANNOUNCED_AT_ONCE])
                self._announce(keys=[key], args=[*head, *some])

    @contextlib.contextmanager
    def _repaired(self, key: str, kind: str, repairs: str) -> Iterator[None]:
        """Repair a key of another type, so that the next call succeeds; this one fails."""
        try:
            yield
        except redis.ResponseError as error:
            if "WRONGTYPE" in str(error):
                self._repair(keys=[key, repairs], args=[kind])
            raise

    def _close_idle(self) -> None:
        """Close the idle connections to a demoted master: its host name may lead to the new one."""
        pool: Any = self._redis.connection_pool
        pool.disconnect(inuse_connections=False)


def _flags_of(stored: list[bytes | None]) -> Flags:
    fact, *flags = stored
    return Flags(fact == Fact.STARTED.value.encode(), *(flag == b"1" for flag in flags))


@contextlib.contextmanager
def _two_errors(on_read_only: Callable[[], None]) -> Iterator[None]:
    try:
        yield
    except redis.ResponseError as error:
        if "READONLY" in str(error) or isinstance(error, redis.exceptions.ReadOnlyError):
            on_read_only()
        raise (Unreachable if takes_no_writes(error) else Refused)(error) from error
    except redis.DataError as error:
        # redis-py cannot encode an argument, which no later attempt changes.
        raise Refused(error) from error
    except (redis.RedisError, OSError) as error:
        raise Unreachable(error) from error
