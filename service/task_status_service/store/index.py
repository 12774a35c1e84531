"""The index of records in Redis. note.lua writes it; page.lua reads one page of it in one round trip."""

import importlib.resources
from datetime import datetime
from typing import Final

import msgspec
import redis
from task_status_worker.record.codec import script_of
from task_status_worker.record.keys import Keys

from task_status_service.status import TaskState
from task_status_service.use_cases.listing import MAX_LOOKED_AT, Filter, IndexPage, Position

_PAGE_SCRIPT: Final = script_of(
    importlib.resources.files(__package__).joinpath("lua", "page.lua").read_text(encoding="utf-8")
)


class Index:
    """The tasks by state, name, owner and labels, according to their records."""

    def __init__(self, records: redis.Redis, *, keys: Keys) -> None:
        self._keys = keys
        self._page_script = records.register_script(_PAGE_SCRIPT)

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Return the ids of one page, newest first, in one round trip of bounded cost.

        The states are those of the records alone, without Celery's meta. The index answers a filter by state or by
        name. For labels, or for state and name together, the script also reads up to `MAX_LOOKED_AT` records: then a
        page may hold fewer than `limit` tasks although more follow.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        states = wanted.states or (() if wanted.name else tuple(TaskState))
        keys = [self._keys.index_by_state(state, wanted.owner) for state in states]
        if wanted.name:
            keys.append(self._keys.index_by_name(wanted.name, wanted.owner))
        query = PageQuery(
            records=self._keys.names.records,
            limit=limit,
            look_at=MAX_LOOKED_AT,
            states=list(wanted.states) or None,
            name=wanted.name,
            labels=dict(wanted.labels) or None,
            after=_milliseconds(wanted.submitted_after),
            before=_milliseconds(wanted.submitted_before),
            at=str(after.at_ms) if after else None,
            id=after.task_id if after else None,
        )
        at_ms, last_id, ids = self._page_script(keys=keys, args=[msgspec.json.encode(query)])
        return IndexPage(
            [task_id.decode("utf-8", "replace") for task_id in ids],
            Position(int(at_ms), last_id.decode("utf-8", "replace")) if at_ms else None,
        )


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The argument of page.lua, as JSON. Times are milliseconds as text: Lua would print them in its own format."""

    #: the start of every record's key
    records: str
    limit: int
    look_at: int
    states: list[TaskState] | None = None
    name: str | None = None
    labels: dict[str, str] | None = None
    after: str | None = None
    before: str | None = None
    #: time and id of the task before the page
    at: str | None = None
    id: str | None = None


def _milliseconds(moment: datetime | None) -> str | None:
    return str(round(moment.timestamp() * 1000)) if moment else None
