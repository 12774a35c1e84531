"""Permissions for the queues that workers announce, for `task-status dev`: its workers may be any app."""

from typing import Any, Final

import msgspec
import redis
from task_status_worker.record.announcement import Consumer
from task_status_worker.record.connection import connect
from task_status_worker.record.keys import Keys

from task_status_service.store.redis_users import SEND, RedisUser, queue_keys
from task_status_service.task_types.queue_names import is_queue_name

_TIMEOUT_SECONDS: Final = 1.0


def permitting_user(prefix: str) -> RedisUser:
    """Return the user of `QueuePermissions`, which may change users, and so obtain every permission."""
    return RedisUser("permit-queues", f"~{Keys.under(prefix).consumers} resetchannels -@all +hgetall +acl|setuser")


class QueuePermissions:
    """Permits the sender to push to each queue that a worker announces."""

    def __init__(self, url: str, *, prefix: str = "") -> None:
        self._redis: Any = connect(url, timeout_seconds=_TIMEOUT_SECONDS)
        self._consumers = Keys.under(prefix).consumers
        self._permitted: set[str] = set()

    def update(self) -> None:
        """Permit the queues that were announced since the last call; do nothing while Redis does not answer."""
        try:
            announced = self._queues(self._redis.hgetall(self._consumers)) - self._permitted
            if announced:
                patterns = [f"~{key}" for queue in sorted(announced) for key in queue_keys(queue)]
                self._redis.execute_command("ACL", "SETUSER", SEND, *patterns)
                self._permitted |= announced
        except redis.RedisError:
            return

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    @staticmethod
    def _queues(stored: dict[bytes, bytes]) -> set[str]:
        found: set[str] = set()
        for announcement in stored.values():
            try:
                found |= set(msgspec.json.decode(announcement, type=Consumer).queues)
            except msgspec.MsgspecError:
                continue
        return {queue for queue in found if is_queue_name(queue)}
