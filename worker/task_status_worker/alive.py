"""A file that each heartbeat of a worker touches, and the command that reads its age.

`celery inspect ping` starts Celery and asks over the broker: about 1 s of CPU for each probe, and a broken broker makes
all workers look dead. This module imports neither Celery nor Redis.
"""

import argparse
import os
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

#: seconds without a heartbeat after which a worker is dead, by default; it sends one every 5 seconds
MAX_AGE_SECONDS: Final = 30.0


def alive_file(nodename: str) -> Path:
    """Return the file of a worker, by its Celery node name such as `celery@web-1`."""
    return Path(tempfile.gettempdir()) / f"task-status-worker-{nodename.replace('/', '_')}.alive"


def touch(file: Path) -> None:
    """Create a file, or set its time to now.

    Raises:
        OSError: the file cannot be written, or it is a symbolic link: the folder is writable for other users.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.utime(descriptor)
    finally:
        os.close(descriptor)


def age_seconds(file: Path) -> float | None:
    """Return the seconds since the last touch; None if there is no file."""
    try:
        return max(0.0, time.time() - file.stat(follow_symlinks=False).st_mtime)
    except OSError:
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command `task-status-worker alive`; return its exit code."""
    parser = argparse.ArgumentParser(prog="task-status-worker")
    commands = parser.add_subparsers(required=True)
    alive = commands.add_parser("alive", help="exit with 0 if a worker on this host has sent a heartbeat lately")
    alive.add_argument("nodename", nargs="?", default=f"celery@{socket.gethostname()}", help="default: %(default)s")
    alive.add_argument("--max-age", type=float, default=MAX_AGE_SECONDS, metavar="SECONDS", help="default: %(default)s")
    given = parser.parse_args(arguments)
    age = age_seconds(alive_file(given.nodename))
    is_alive = age is not None and age <= given.max_age
    sys.stdout.write(f"{given.nodename}: {'no heartbeat' if age is None else f'last heartbeat {age:.0f} s ago'}\n")
    return 0 if is_alive else 1


if __name__ == "__main__":
    raise SystemExit(main())
