"""The users that docs/redis-users.md gives, for tests that run as them."""

import re
from pathlib import Path

from support.servers import RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "redis-users.md"


def apply_users(server: RedisServer, password: str) -> None:
    """Give a Redis the users of the page, all with the same password; the default user is off afterwards."""
    lines = re.findall(r"^user (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(lines) == 4
    with server.client() as client:
        # The one who does it last.
        for line in reversed(lines):
            client.execute_command("ACL", "SETUSER", *re.sub(r">[A-Z]+-PASSWORD", f">{password}", line).split())


def url_of(server: RedisServer, user: str, password: str) -> str:
    """Give the URL for a user."""
    return f"redis://{user}:{password}@127.0.0.1:{server.port}/0"
