"""Redis and servers of one run, each pinned to a core."""

import contextlib
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.support import servers

#: the server under load has its own core; the load tool and Redis share the other
SERVER_CORE, LOAD_CORE = sorted(os.sched_getaffinity(0))[:2]
#: starts a process on one core; run.py checks that it is installed
_TASKSET: Final = ("taskset", "--cpu-list")


class Server(NamedTuple):
    """One running server."""

    url: str
    process_id: int

    @property
    def memory_bytes(self) -> int:
        """Memory of the process and its children; each shared page counts once (PSS)."""
        process_ids = [self.process_id, *_children(self.process_id)]
        rollups = (Path(f"/proc/{process_id}/smaps_rollup").read_text(encoding="utf-8") for process_id in process_ids)
        found = (re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE) for rollup in rollups)
        return sum(int(match[1]) * 1024 for match in found if match)


def _children(process_id: int) -> list[int]:
    children = Path(f"/proc/{process_id}/task/{process_id}/children").read_text(encoding="utf-8")
    return [int(child) for child in children.split()]


def on_core(core: int, *command: str) -> list[str]:
    """Return a command that runs another command on one core."""
    return [*_TASKSET, str(core), *command]


@contextlib.contextmanager
def running_redis(folder: Path) -> Iterator[str]:
    """Run a real Redis, and yield its URL when it answers."""
    with servers.running_redis(folder) as server:
        if server.process is not None:
            os.sched_setaffinity(server.process.pid, {LOAD_CORE})
        yield server.url


@contextlib.contextmanager
def running_server(name: str, arguments: list[str], *, environ: Mapping[str, str], folder: Path) -> Iterator[Server]:
    """Run one server, and yield it when it answers. `{port}` in the arguments is its port."""
    port = servers.free_port()
    command = on_core(SERVER_CORE, sys.executable, "-m", *(argument.format(port=port) for argument in arguments))
    environ = {**environ, "TASK_STATUS_BIND": f"127.0.0.1:{port}"}
    url = f"http://127.0.0.1:{port}"
    with servers.running_when_ready(
        command, lambda: _answers(url), environ=environ, log=folder / f"{name}.log", what=name
    ) as process:
        yield Server(url, process.pid)


def _answers(url: str) -> bool:
    """Return whether a server answers, with any status: each contender has other paths."""
    try:
        urllib.request.urlopen(url, timeout=2).close()  # noqa: S310  # our own http:// URL
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
