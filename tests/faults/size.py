"""How much is done: `FAULTS=short` for CI, which is the default, `FAULTS=long` for the figures that are published."""

import os
from typing import Final

import msgspec


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Say how often, how many and how long."""

    name: str
    redis_kills: int
    submissions_per_second: float
    #: seconds for which Redis stalls, pauses, refuses, is full or takes no writes, each
    outage_seconds: float
    keys: int
    #: concurrent submissions under one key
    retries: int
    #: tasks that finish while Redis is away
    finished_away: int
    #: tasks that are canceled before they start
    canceled: int
    #: tasks that run in a worker that is killed
    orphans: int
    #: tasks whose process is killed
    crashed: int
    #: tasks whose messages come again while they run
    redelivered: int
    #: seconds of full load in which no worker may be taken for dead
    full_load_seconds: float
    #: whether to wait for what takes a minute: silent workers that are lost, task types that are announced again
    is_patient: bool
    #: what a busy machine may add to the bound of an answer, in seconds
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
