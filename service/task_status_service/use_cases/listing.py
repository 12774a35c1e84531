"""What may be asked of the index, and what it gives: the nouns that tracker and store share."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from task_status_service.status import TaskState

#: tasks that one page looks at, at most, where it has to look at records: bounds what a filter that fits few may cost
MAX_LOOKED_AT: Final = 1_000

#: characters of an inline result, a custom meta or a failure's details in a list: bounds the answer
MAX_LISTED_SIZE: Final = 64 * 1024


class Position(msgspec.Struct, frozen=True):
    """Name a place in the order of tasks, newest first: just after this one, which need not exist any more."""

    #: when it was submitted, or first recorded, in milliseconds since the epoch; never changes
    at_ms: int
    task_id: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Say which tasks to list; what is empty or None does not filter."""

    #: whose; None: everybody's, and nobody's
    owner: str | None = None
    #: any of these
    states: Sequence[TaskState] = ()
    name: str | None = None
    #: all of these
    labels: Mapping[str, str] = {}
    #: at this time or later, aware
    submitted_after: datetime | None = None
    #: before this time, aware
    submitted_before: datetime | None = None


class IndexPage(msgspec.Struct, frozen=True):
    """Hold a page of ids as the index has them, newest first."""

    task_ids: Sequence[str]
    #: where the next page begins; None if there is none
    next: Position | None
