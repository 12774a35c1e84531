"""The filter, the position and the pages of a list of tasks."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from task_status_service.status import TaskState
from task_status_service.status.cache import CachedStatus

#: limit of the records that one page reads for a filter that the index cannot apply: bounds the cost of a rare match
MAX_LOOKED_AT: Final = 1_000

#: characters of an inline result, a custom meta or a failure's details in a list: bounds the size of a response
MAX_LISTED_SIZE: Final = 64 * 1024


class Position(msgspec.Struct, frozen=True):
    """A position in the list, newest first: just after this task, which may have expired since."""

    #: when the task was submitted, or first recorded, in milliseconds since the epoch; never changes
    at_ms: int
    task_id: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks to list; an empty or None field does not filter."""

    #: None lists the tasks of all owners, and those without an owner
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
    """A page of task ids from the index, newest first."""

    task_ids: Sequence[str]
    #: position of the next page; None on the last page
    next: Position | None


class TaskPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some tasks of a list."""

    items: list[CachedStatus]
    #: position of the next page; None on the last page
    next: Position | None = None
    #: requested ids that are unknown or have another owner
    missing: list[str] = []
