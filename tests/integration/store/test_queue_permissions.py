"""The permissions that `task-status dev` adds for the queues of other apps."""

from pathlib import Path

import msgspec
import pytest
from redis import Redis
from redis.exceptions import NoPermissionError
from support.redis_users import server_with_users, url_of
from task_status_service.store.queue_permissions import QueuePermissions, permitting_user
from task_status_service.store.redis_users import SEND
from task_status_worker.record.announcement import Consumer
from task_status_worker.record.keys import Keys

PASSWORD = "a-password"


def test_announced_queues_are_permitted(tmp_path: Path) -> None:
    """The sender may push to each announced queue, and to no key that is no queue; unreadable entries are skipped."""
    server = server_with_users(tmp_path, queues=["celery"])
    with server.users.open("a") as users:
        users.write(permitting_user("").acl_line(PASSWORD) + "\n")
    server.start()
    reserved = [Keys().epoch, Keys().meta("a"), "unacked", "unacked_index", "worker@host.celery.pidbox", "*", "a b"]
    permissions = QueuePermissions(url_of(server, "permit-queues"))
    try:
        with server.client() as client, Redis.from_url(url_of(server, SEND)) as sender:
            announced = msgspec.json.encode(Consumer(task_types=["shop.pay"], queues=["shop.mail", *reserved]))
            client.hset(Keys().consumers, mapping={"a": announced, "b": b"{", "c": b"\xff"})
            with pytest.raises(NoPermissionError):
                sender.lpush("shop.mail", "{}")

            permissions.update()

            assert sender.lpush("shop.mail", "{}") == sender.lpush("shop.mail\x06\x169", "{}") == 1
            for key in [*reserved, "shopXmail"]:
                with pytest.raises(NoPermissionError):
                    sender.lpush(key, "{}")
        server.stop()
        permissions.update()  # Redis does not answer
    finally:
        permissions.close()
        server.stop()
