"""One pub/sub connection to a real Redis; what it is good for: test_feed.py."""

import threading
import time

from support.servers import RedisServer
from task_status_service.store.pubsub import Listener
from task_status_service.store.records import connect_to


def test_confirmed_too_late(redis_server: RedisServer) -> None:
    """What is asked for no more counts as not confirmed, also if Redis confirms that it was asked for only then."""
    listener = Listener(connect_to(redis_server.url, sentinel_master=""), lambda: ["first"], lambda _: None)
    threading.Thread(target=listener.run, daemon=True).start()
    listener.wait_confirmed(["first"], time.monotonic() + 10)
    with redis_server.client() as client:
        client.client_pause(300)
        listener.subscribe(["late"])
        listener.unsubscribe(["late"])
        listener.subscribe(["last"])
    listener.wait_confirmed(["last"], time.monotonic() + 10)

    deadline = time.monotonic() + 0.2
    listener.wait_confirmed(["late"], deadline)
    assert time.monotonic() >= deadline
    listener.close()
