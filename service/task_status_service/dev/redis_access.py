"""The Redis users of `task-status dev`: each part has only the permissions that it needs."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

import msgspec

from task_status_service.redaction import redact
from task_status_service.store.queue_permissions import QueuePermissions, permitting_user
from task_status_service.store.redis_users import API, SEND, WORKER, acl_lines, redis_users


class RedisAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How each part connects to Redis."""

    #: environment variables
    of_service: Mapping[str, str]
    of_worker: Mapping[str, str]
    #: for the developer's own Celery app
    shown_url: str
    #: None for a Redis that was running before: its users are not changed
    permissions: QueuePermissions | None = None


def given_redis(url: str) -> RedisAccess:
    """Return the access to a Redis that the developer has chosen."""
    environ = {"TASK_STATUS_REDIS_URL": url}
    return RedisAccess(of_service=environ, of_worker=environ, shown_url=redact(url))


class OwnRedis:
    """A Redis that `task-status dev` starts, with new passwords in each run."""

    def __init__(self, address: str, environ: Mapping[str, str] = os.environ) -> None:
        """Create the users; `address` is the host and port, and `environ` contains the settings of the service."""
        self._address = address
        self._environ = environ
        prefix = environ.get("TASK_STATUS_GLOBAL_KEYPREFIX", "")
        named = f"{environ.get('TASK_STATUS_DEFAULT_QUEUE', '')},{environ.get('TASK_STATUS_QUEUES', '')}"
        queues = {"celery", "demo", *(queue.strip() for queue in named.split(",") if queue.strip())}
        permitting = permitting_user(prefix)
        # The workers run the developer's code: an app with other queues and keys must work without a setting.
        self._users = [*redis_users(queues=sorted(queues), prefix=prefix, app_keys=["*"]), permitting]
        self._passwords = {user.name: secrets.token_urlsafe(32) for user in self._users}
        self._permitting = permitting.name
        self._prefix = prefix

    def write_users(self, file: Path) -> None:
        """Write the ACL file, which only this user can read."""
        file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        lines = acl_lines(self._users, self._passwords, hashed=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def access(self) -> RedisAccess:
        """Return how each part connects."""
        of_service = {"TASK_STATUS_REDIS_URL": self._url(API)}
        if not self._environ.get("TASK_STATUS_BROKER_URL"):
            of_service["TASK_STATUS_BROKER_URL"] = self._url(SEND)
        return RedisAccess(
            of_service=of_service,
            of_worker={"TASK_STATUS_REDIS_URL": self._url(WORKER)},
            shown_url=self._url(WORKER),
            permissions=QueuePermissions(self._url(self._permitting), prefix=self._prefix),
        )

    def _url(self, user: str) -> str:
        return f"redis://{user}:{self._passwords[user]}@{self._address}/0"
