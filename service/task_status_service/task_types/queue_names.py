"""The names of queues that clients, settings and announcements may contain: the broker makes each a key of Redis."""

import re
from typing import Final

from task_status_worker.record.keys import RESERVED_PARTS

#: pattern of a queue name that clients or settings may contain
QUEUE_NAME: Final = "[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}"
#: longest name of a queue that a worker announces, which may contain other characters
MAX_QUEUE_CHARS: Final = 256

_QUEUE_NAME: Final = re.compile(QUEUE_NAME)
#: keys of kombu (kombu/transport/redis.py)
_RESERVED_STARTS: Final = ("unacked", "_kombu", "/")
_RESERVED_ENDS: Final = (".pidbox",)


def is_reserved(queue: str) -> bool:
    """Return whether a key of this name may belong to task-status, Celery or kombu; with any key prefix."""
    return (
        any(part in queue for part in RESERVED_PARTS)
        or queue.startswith(_RESERVED_STARTS)
        or queue.endswith(_RESERVED_ENDS)
    )


def is_queue_name(queue: str) -> bool:
    """Return whether clients and settings may use the name of a queue."""
    return _QUEUE_NAME.fullmatch(queue) is not None and not is_reserved(queue)
