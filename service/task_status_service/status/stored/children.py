"""Decode the tree of tasks that a task started to a flat list of ids.

A task is `[[id, parent], null]`, a group `[[id, parent], [members…]]`. Source: celery/result.py, result_from_tuple.
"""

from typing import Any

from task_status_service.status.stored.bounds import MAX_CHILD_NODES, MAX_CHILDREN, MAX_NAME_CHARS
from task_status_service.status.stored.plain_json import cut, whole


def decode_children(stored: Any, codes: set[str]) -> list[str]:
    """Return the ids of the started tasks, in order; a group is replaced by its members, an invalid node omitted."""
    ids: list[str] = []
    left = MAX_CHILD_NODES
    # The stored list is wrapped, so that it has the shape of a group.
    waiting: list[Any] = [[["", None], stored or []]]
    while waiting and len(ids) < MAX_CHILDREN:
        match waiting.pop():
            case [[str(task_id), _], None] if task_id:
                ids.append(whole(cut(task_id, MAX_NAME_CHARS, codes), codes))
            case [[str(), _], [*members]]:
                waiting.extend(reversed(members[:left]))
                if len(members) > left:
                    codes.add("children_truncated")
                left -= min(left, len(members))
            case _:
                codes.add("bad_children")
    if waiting:
        codes.add("children_truncated")
    return ids
