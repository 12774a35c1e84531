"""The index of records in Redis, which note.lua keeps: one page of it is read in one trip, by page.lua."""

import importlib.resources
from datetime import datetime
from typing import Final

import msgspec
import redis
from task_status_worker.record.keys import Keys

from task_status_service.status import TaskState
from task_status_service.use_cases.listing import MAX_LOOKED_AT, Filter, IndexPage, Position

_PAGE_SCRIPT: Final = importlib.resources.files(__package__).joinpath("lua", "page.lua").read_text(encoding="utf-8")


class Index:
    """Find tasks by what their records say."""

    def __init__(self, records: redis.Redis, *, keys: Keys) -> None:
        self._keys = keys
        self._page_script = records.register_script(_PAGE_SCRIPT)

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Read the ids of one page in one trip, newest first. The cost is bounded whatever is stored.

        The states are those that records alone say. By state, by name or by both the index is read; where labels
        matter, or both state and name, so are the records of up to `MAX_LOOKED_AT` tasks: then a page may hold fewer
        than `limit` and still have a next one.

        Raises:
            redis.RedisError: it could not be read.
        """
        states = wanted.states or (() if wanted.name else tuple(TaskState))
        index = self._keys.index_of(wanted.owner)
        keys = [f"{index}state:{state}" for state in states]
        if wanted.name:
            keys.append(f"{index}name:{wanted.name}")
        wish = PageQuery(
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
        at_ms, last_id, ids = self._page_script(keys=keys, args=[msgspec.json.encode(wish), self._keys.record("")])
        return IndexPage(
            [task_id.decode("utf-8", "replace") for task_id in ids],
            Position(int(at_ms), last_id.decode("utf-8", "replace")) if at_ms else None,
        )


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What page.lua is asked; times in milliseconds as text, for Lua's numbers print as they like."""

    limit: int
    look_at: int
    states: list[TaskState] | None = None
    name: str | None = None
    labels: dict[str, str] | None = None
    after: str | None = None
    before: str | None = None
    #: the position after which the page begins
    at: str | None = None
    id: str | None = None


def _milliseconds(moment: datetime | None) -> str | None:
    return str(round(moment.timestamp() * 1000)) if moment else None
