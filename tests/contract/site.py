"""What the tests of the running service have: where it is, and who calls it."""

from pathlib import Path
from typing import Final, NamedTuple

from support.servers import RedisServer
from task_status_service.access.caller import Scope

#: all but the one of those who see everything: none of these sees what another one has submitted
SCOPES: Final = [scope for scope in Scope if scope is not Scope.ADMIN]
#: who there is, and what they may do
OWNERS: Final = {"one": SCOPES, "other": SCOPES, "greedy": SCOPES, "guest": [Scope.TRACEBACKS]}


class Site(NamedTuple):
    """A Redis, a worker and a service."""

    url: str
    redis: RedisServer
    #: of keys, of logs, and of what schemathesis reads and writes
    folder: Path
    #: what each owner sends
    headers: dict[str, dict[str, str]]

    def environ(self, **settings: str) -> dict[str, str]:
        """Give the settings of a service for these callers."""
        given = {
            "REDIS_URL": self.redis.url,
            "API_KEYS_FILE": str(self.folder / "keys.json"),
            "REQUESTS_PER_SECOND": "0",
            "QUEUED_PER_OWNER": "0",
            **settings,
        }
        return {f"TASK_STATUS_{name}": text for name, text in given.items()}
