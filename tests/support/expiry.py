"""Expired tasks in a real Redis, without waiting."""

from typing import Any

from task_status_worker.record.codec import FIELDS
from task_status_worker.record.keys import Keys


def expire_now(client: Any, keys: Keys, *task_ids: str) -> None:
    """End the records of some tasks, which are due in the index by expiry and still in the rest of the index."""
    for task_id in task_ids:
        key = keys.record(task_id)
        seconds_left = int(client.hget(key, FIELDS["valid_until"])) - client.time()[0]
        client.hset(key, FIELDS["valid_until"], 1)
        client.expire(key, client.ttl(key) - seconds_left)
        for slot in client.zrange(keys.index_by_expiry, 0, -1):
            client.lrem(f"{keys.index_by_expiry}:{slot.decode()}", 0, task_id)
        client.rpush(f"{keys.index_by_expiry}:1", task_id)
        client.zadd(keys.index_by_expiry, {"1": 1})


def due(client: Any, keys: Keys) -> dict[bytes, float]:
    """Return each task id in the index by expiry, with the end of its slot in seconds since the epoch."""
    slots = client.zrange(keys.index_by_expiry, 0, -1, withscores=True)
    return {
        task_id: end
        for slot, end in slots
        for task_id in client.lrange(f"{keys.index_by_expiry}:{slot.decode()}", 0, -1)
    }
