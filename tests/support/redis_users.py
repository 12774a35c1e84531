"""The Redis users of docs/redis-users.md, for tests that run as these users."""

import re
from pathlib import Path

from support.servers import RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "redis-users.md"


def apply_users(server: RedisServer, password: str) -> None:
    """Create the users of the page, all with the same password; this disables the default user."""
    lines = re.findall(r"^user (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    with server.client() as client:
        # In reverse order: the first line disables the default user, which this client uses.
        for line in reversed(lines):
            client.execute_command("ACL", "SETUSER", *re.sub(r">[A-Z]+-PASSWORD", f">{password}", line).split())


def url_of(server: RedisServer, user: str, password: str) -> str:
    """Return the Redis URL for a user."""
    return f"redis://{user}:{password}@127.0.0.1:{server.port}/0"
