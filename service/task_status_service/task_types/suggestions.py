"""The nearest names for a task name that no worker announces."""

import difflib
from collections.abc import Collection
from typing import Final

from task_status_service.errors import UnknownTaskType

#: names in one error
MAX_SUGGESTIONS: Final = 3
#: names that are compared by their letters, and their length: bounds the time of one error to about a millisecond
_MAX_COMPARED: Final = 50
_MAX_CHARACTERS: Final = 100
#: similarity of a suggested name, from 0 to 1: two names of a few letters each may differ by one
_MIN_SIMILARITY: Final = 0.75


def unknown_task_type(name: str, announced: Collection[str]) -> UnknownTaskType:
    """Return the error for an unknown name, with up to `MAX_SUGGESTIONS` announced names that are similar."""
    similar = _similar(name, announced)
    if not similar:
        return UnknownTaskType()
    names = " or ".join(f"`{one}`" for one in similar)
    return UnknownTaskType(f"No worker announces a task type of this name. Did you mean {names}?")


def _similar(name: str, announced: Collection[str]) -> list[str]:
    if len(name) > _MAX_CHARACTERS:
        return []
    _, _, last = name.rpartition(".")
    likely = [
        one
        for one in announced
        if len(one) <= _MAX_CHARACTERS
        and (one.rpartition(".")[2] == last or one[:3] == name[:3] or one[-3:] == name[-3:])
    ]
    close = difflib.get_close_matches(name, likely[:_MAX_COMPARED], n=MAX_SUGGESTIONS, cutoff=_MIN_SIMILARITY)
    # The same function in another module is likely meant, whatever the module is called.
    same = [one for one in likely if one.rpartition(".")[2] == last]
    return list(dict.fromkeys([*close, *same]))[:MAX_SUGGESTIONS]
