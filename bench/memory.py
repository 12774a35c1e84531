"""Memory of Redis per task, of this tree and of release 0.1.0."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from tests.support import servers

TASKS: Final = 10_000
#: the release that is compared; its commit instead of its tag, because a clone may have no tags
RELEASE: Final = "0.1.0"
_RELEASE_COMMIT: Final = "36f910df8a5d711be7259924d84908831059b636"
_TREE: Final = Path(__file__).parent.parent

_WITHOUT_OWNER, _WITH_OWNER, _WITH_KEY = "without owner", "with owner", "with owner and Idempotency-Key"
CASES: Final = (_WITHOUT_OWNER, _WITH_OWNER, _WITH_KEY)


class MemoryMeasured(NamedTuple):
    """Growth of used_memory in bytes per task, without Celery's messages and metas."""

    queued: float
    done: float


#: by case: this tree, then the release
Compared = Mapping[str, tuple[MemoryMeasured, MemoryMeasured]]


def measure_memory(tasks: int = TASKS) -> Compared | None:
    """Measure each case with both trees in turn; None, with a printed reason, if git cannot provide the release."""
    with tempfile.TemporaryDirectory() as name:
        release = Path(name)
        try:
            _unpack_release(release)
        except (OSError, subprocess.CalledProcessError, tarfile.TarError) as error:
            print(f"Memory per task is not measured: git cannot provide commit {_RELEASE_COMMIT}: {error}")
            return None
        return {case: (_measure(_TREE, case, tasks), _measure(release, case, tasks)) for case in CASES}


def _unpack_release(folder: Path) -> None:
    command = ["git", "-C", str(_TREE), "archive", _RELEASE_COMMIT, "service", "worker"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout  # noqa: S603  # a constant command
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")


def _measure(tree: Path, case: str, tasks: int) -> MemoryMeasured:
    with tempfile.TemporaryDirectory() as name, servers.running_redis(Path(name)) as server:
        environ = {
            # Before the installed packages, which belong to this tree.
            "PYTHONPATH": f"{tree / 'service'}:{tree / 'worker'}",
            "TASK_STATUS_REDIS_URL": server.url,
            "TASK_STATUS_REQUESTS_PER_SECOND": "0",
            "TASK_STATUS_QUEUED_PER_OWNER": "0",
        }
        api_key = ""
        if case != _WITHOUT_OWNER:
            environ["TASK_STATUS_API_KEYS_FILE"] = str(Path(name) / "keys.json")
            add = ["-m", "task_status_service.cli", "keys", "add", "an-owner", "--scopes", "submit,read"]
            api_key = re.findall(r"tsk_\S+", _run(add, environ))[-1]
        program = str(_TREE / "bench" / "memory_of_tree.py")
        printed = _run([program, str(tasks), api_key, "yes" if case == _WITH_KEY else "no"], environ)
        return MemoryMeasured(*json.loads(printed))


def _run(arguments: list[str], environ: Mapping[str, str]) -> str:
    command = [sys.executable, *arguments]
    environ = {**os.environ, **environ}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environ).stdout  # noqa: S603  # ours
