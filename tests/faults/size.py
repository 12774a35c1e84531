"""The size of a run: `FAULTS=short` (the default) for CI, `FAULTS=long` for the published figures."""

import os
from typing import Final

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Numbers and durations of the scenarios."""

    name: str
    redis_kills: int
    submissions_per_second: float
    #: duration of each outage of Redis
    outage_seconds: float
    keys: int
    #: concurrent submissions with one key
    retries: int
    #: tasks that finish while Redis is unreachable
    finished_away: int
    #: tasks that are canceled before they start
    canceled: int
    #: tasks that run in a killed worker
    orphans: int
    #: tasks whose process is killed
    crashed: int
    #: tasks with a duplicate delivery while they run
    redelivered: int
    #: duration of the full load during which no worker may be reported as dead
    full_load_seconds: float
    #: whether to wait for events that take a minute: the loss of a worker, another announcement
    is_patient: bool
    #: seconds added to each time limit, for a busy machine
    slack_seconds: float


_SIZES: Final = {
    size.name: size
    for size in (
        Size(
            name="short",
            redis_kills=4,
            submissions_per_second=40,
            outage_seconds=2.5,
            keys=30,
            retries=16,
            finished_away=40,
            canceled=60,
            orphans=4,
            crashed=6,
            redelivered=4,
            full_load_seconds=20,
            is_patient=False,
            slack_seconds=1.0,
        ),
        Size(
            name="long",
            redis_kills=40,
            submissions_per_second=60,
            outage_seconds=10,
            keys=1_000,
            retries=16,
            finished_away=200,
            canceled=1_000,
            orphans=8,
            crashed=100,
            redelivered=40,
            full_load_seconds=600,
            is_patient=True,
            slack_seconds=0.0,
        ),
    )
}

SIZE: Final = _SIZES[os.environ.get("FAULTS", "short")]
