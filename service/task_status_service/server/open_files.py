"""The limit of open files, compared with the connections that the settings permit.

Each connection is an open file. At the limit, accepting fails with EMFILE, and gevent pauses before it tries again.
"""

import contextlib
import resource
from typing import Final, NamedTuple

#: connections in addition to those that wait or stream
PLAIN_CONNECTIONS: Final = 2_000
#: other open files of a process: up to 64 connections of each pool (records, results, broker), pub/sub, listeners, logs
OTHER_FILES: Final = 256


class Room(NamedTuple):
    """The connections of one server process within a limit of open files."""

    limit: int
    #: open files that the settings need
    needed: int
    connections: int
    #: the connections of these that may wait or stream
    watches: int

    @property
    def kept_alive(self) -> int:
        """Return the number of open connections above which clients without admission lose theirs after a response.

        Half of those that are reserved for plain requests remain for other clients.
        """
        return self.connections - (self.connections - self.watches + 1) // 2

    @property
    def warning(self) -> str | None:
        """Return the warning about a limit that is too small; None if it is sufficient."""
        if self.limit >= self.needed:
            return None
        return (
            f"The limit of open files is {self.limit:,}, and each process of this server needs {self.needed:,}. It "
            f"accepts only {self.connections:,} connections at one time, and of these {self.watches:,} waits and event "
            f"streams. Raise the limit (`ulimit -Hn {self.needed}`, `ulimits: nofile` in a compose file, LimitNOFILE= "
            "in a systemd unit), or lower TASK_STATUS_WATCHES."
        )


def make_room(watches: int) -> Room:
    """Raise the limit of open files of this process if a number of watches needs more, up to the hard limit."""
    needed = watches + PLAIN_CONNECTIONS + OTHER_FILES
    soft, hard = (_number(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    if soft < needed:
        wanted = min(needed, hard)
        # macOS rejects more than its kernel permits, although the hard limit is unlimited.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            soft = wanted
    return room_within(soft, watches)


def room_within(limit: int, watches: int) -> Room:
    """Divide a limit of open files: at least half of the connections remain for plain requests."""
    needed = watches + PLAIN_CONNECTIONS + OTHER_FILES
    connections = min(watches + PLAIN_CONNECTIONS, limit - min(OTHER_FILES, limit // 2))
    plain = min(PLAIN_CONNECTIONS, connections - connections // 2)
    return Room(limit, needed, connections, min(watches, connections - plain))


def _number(limit: int) -> int:
    return 1 << 62 if limit == resource.RLIM_INFINITY else limit
