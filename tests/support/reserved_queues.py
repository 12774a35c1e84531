"""Names of queues that are keys of task-status, Celery or kombu."""

from typing import Final

RESERVED: Final = (
    "unacked",
    "unacked_index",
    "unacked_mutex",
    "task-status:index:expiry",
    "app_task-status:claim:abc",
    "celery-task-meta-abc",
    "app_celery-task-meta-abc",
    "celery-taskset-meta-abc",
    "chord-unlock-abc",
    "_kombu.binding.celery",
    "worker@host.celery.pidbox",
    "reply.celery.pidbox",
)
