"""What a caller asks for: which tasks, how long it waits, and what it has."""

import re
from typing import Final

import msgspec
from flask import Response, request

from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import caller, require
from task_status_service.api.requests.fields import TASK_ID
from task_status_service.api.requests.parameters import MAX_IDS, MAX_WAIT_SECONDS
from task_status_service.errors import Fault, InvalidArguments, TaskNotFound

_UNUSABLE: Final = "The request cannot be used."
#: as JSON writes one, and so every client does; float() takes more
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PREFER_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:;.*)?", re.IGNORECASE)


def checked_task_id(task_id: str) -> str:
    """Give an id that may be one.

    Raises:
        TaskNotFound: it cannot be the id of any task.
    """
    if not TASK_ID.fullmatch(task_id):
        raise TaskNotFound("A task id is 1 to 128 letters, digits and ._:- and starts with a letter or digit.")
    return task_id


def task_ids_of_query() -> list[str]:
    """Read `?id=…&id=…`, each once.

    Raises:
        InvalidArguments: there is none, there are more than `MAX_IDS`, or one cannot be the id of a task.
    """
    task_ids = list(dict.fromkeys(request.args.getlist("id")))
    if not 1 <= len(task_ids) <= MAX_IDS:
        raise InvalidArguments(_UNUSABLE, [Fault(f"must be given 1 to {MAX_IDS} times", parameter="id")])
    if wrong := [task_id for task_id in task_ids if not TASK_ID.fullmatch(task_id)]:
        raise InvalidArguments(
            _UNUSABLE, [Fault(f"{task_id!r:.140} is no task id", parameter="id") for task_id in wrong]
        )
    return task_ids


class WaitPreference(msgspec.Struct, frozen=True):
    """How long the caller waits, and whether it said so by `Prefer` (RFC 7240)."""

    seconds: float
    is_preference: bool = False

    def acknowledge(self, response: Response) -> Response:
        """Say that a preference was applied."""
        if self.is_preference:
            response.headers["Preference-Applied"] = f"wait={self.seconds:.0f}"
        return response


def patience() -> WaitPreference:
    """Read `?wait=` and `Prefer: wait`; the parameter counts, and a preference beyond the limit is cut to it.

    Raises:
        InvalidArguments: `wait` is no number from 0 to `MAX_WAIT_SECONDS`.
        Forbidden: to wait is to read, and the caller may not. A preference is not applied then.
    """
    given = request.args.getlist("wait")
    if given:
        text = given[0]
        if len(given) > 1 or not _NUMBER.fullmatch(text) or not 0 <= float(text) <= MAX_WAIT_SECONDS:
            fault = Fault(f"must be one number from 0 to {MAX_WAIT_SECONDS}", parameter="wait")
            raise InvalidArguments(_UNUSABLE, [fault])
        require(Scope.READ)
        return WaitPreference(float(text))
    for preference in request.headers.get("Prefer", "").split(","):
        if (found := _PREFER_WAIT.fullmatch(preference)) and caller().may(Scope.READ):
            return WaitPreference(min(int(found[1]), MAX_WAIT_SECONDS), is_preference=True)
    return WaitPreference(0)


def if_none_match() -> str | None:
    """Give what the caller says that it has, as it was sent."""
    return request.headers.get("If-None-Match")
