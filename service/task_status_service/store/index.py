"""The index of records in Redis. note.lua writes it; page.lua reads one page of it in one round trip."""

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
    """The tasks by state, name, owner and labels, according to their records."""

    def __init__(self, records: redis.Redis, *, keys: Keys) -> None:
        self._keys = keys
        self._page_script = records.register_script(_PAGE_SCRIPT)

    def page(self, wanted: Filter, *, limit: int, after: Position | None) -> IndexPage:
        """Return the ids of one page, newest first, in one round trip of bounded cost.

        The states are those of the records alone, without Celery's meta. The index answers one condition: states, name
        or one label. With more conditions the script checks up to `MAX_LOOKED_AT` tasks of the rarest one: then a page
        may hold fewer than `limit` tasks although more follow.

        Raises:
            redis.RedisError: Redis did not answer.
        """
        conditions = self._conditions(wanted)
        query = PageQuery(
            counts=[len(keys) for keys in conditions],
            limit=limit,
            look_at=MAX_LOOKED_AT,
            after=_milliseconds(wanted.submitted_after),
            before=_milliseconds(wanted.submitted_before),
            at=str(after.at_ms) if after else None,
        )
        begin = [after.task_id.encode("utf-8", "surrogateescape")] if after else []
        at_ms, last_id, ids = self._page_script(
            keys=[key for keys in conditions for key in keys], args=[msgspec.json.encode(query), *begin]
        )
        return IndexPage(
            [task_id.decode("utf-8", "replace") for task_id in ids],
            Position(int(at_ms), last_id.decode("utf-8", "surrogateescape")) if at_ms else None,
        )

    def _conditions(self, wanted: Filter) -> list[list[str]]:
        """Return the keys of each condition: a task that fits is in one of them."""
        keys, owner = self._keys, wanted.owner
        states = [keys.index_by_state(state, owner) for state in wanted.states]
        names = [keys.index_by_name(wanted.name, owner)] if wanted.name else []
        labels = [[keys.index_by_label(name, text, owner)] for name, text in wanted.labels.items()]
        conditions = [condition for condition in (states, names, *labels) if condition]
        return conditions or [[keys.index_by_state(state, owner) for state in TaskState]]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The first argument of page.lua, as JSON. Times are milliseconds as text, which Lua passes on unchanged."""

    #: number of keys of each condition
    counts: list[int]
    limit: int
    look_at: int
    after: str | None = None
    before: str | None = None
    #: time of the task before the page
    at: str | None = None


def _milliseconds(moment: datetime | None) -> str | None:
    return str(round(moment.timestamp() * 1000)) if moment else None
