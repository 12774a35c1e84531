"""The running service of the contract tests, and its callers."""

from pathlib import Path
from typing import Final, NamedTuple

from support.servers import RedisServer
from task_status_service.access.caller import Scope

#: without ADMIN, so that no owner sees the tasks of another owner
SCOPES: Final = [scope for scope in Scope if scope is not Scope.ADMIN]
#: the scopes of each owner
OWNERS: Final = {"one": SCOPES, "other": SCOPES, "greedy": SCOPES, "guest": [Scope.TRACEBACKS]}


class Site(NamedTuple):
    """A Redis, a worker and a service."""

    url: str
    redis: RedisServer
    #: folder of keys, logs and the files of schemathesis
    folder: Path
    #: request headers of each owner
    headers: dict[str, dict[str, str]]

    def environ(self, **settings: str) -> dict[str, str]:
        """Return the environment of a service for these owners."""
        given = {
            "REDIS_URL": self.redis.url,
            "API_KEYS_FILE": str(self.folder / "keys.json"),
            "REQUESTS_PER_SECOND": "0",
            "QUEUED_PER_OWNER": "0",
            **settings,
        }
        return {f"TASK_STATUS_{name}": text for name, text in given.items()}
