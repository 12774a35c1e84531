"""Options of a read request: task ids, wait time and known versions."""

import re
from collections.abc import Collection
from typing import Final

import msgspec
from flask import Response, request

from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import caller, require
from task_status_service.api.requests.fields import TASK_ID
from task_status_service.api.requests.parameters import MAX_IDS, MAX_WAIT_SECONDS
from task_status_service.errors import Fault, InvalidArguments, TaskNotFound

_UNUSABLE: Final = "The request is invalid: correct the listed errors."
#: a JSON number; float() accepts more forms
_NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_PREFER_WAIT: Final = re.compile(r"\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:;.*)?", re.IGNORECASE)


def check_repeated(names: Collection[str]) -> None:
    """Require that each of these query parameters occurs at most once.

    Raises:
        InvalidArguments: One of them is repeated: a reader that takes the other value would see another request.
    """
    repeated = [name for name in names if len(request.args.getlist(name)) > 1]
    if repeated:
        raise InvalidArguments(_UNUSABLE, [Fault("must not be repeated", parameter=name) for name in repeated])


def checked_task_id(task_id: str) -> str:
    """Return a task id of valid form.

    Raises:
        TaskNotFound: the text cannot be a task id.
    """
    if not TASK_ID.fullmatch(task_id):
        raise TaskNotFound("A task id is 1 to 128 letters, digits and ._:- and starts with a letter or digit.")
    return task_id


def task_ids_of_query() -> list[str]:
    """Return the ids of `?id=…&id=…` without duplicates.

    Raises:
        InvalidArguments: the query has no id, more than `MAX_IDS`, or a malformed one.
    """
    task_ids = list(dict.fromkeys(request.args.getlist("id")))
    if not 1 <= len(task_ids) <= MAX_IDS:
        raise InvalidArguments(_UNUSABLE, [Fault(f"must occur 1 to {MAX_IDS} times", parameter="id")])
    if wrong := [task_id for task_id in task_ids if not TASK_ID.fullmatch(task_id)]:
        raise InvalidArguments(
            _UNUSABLE, [Fault(f"{task_id!r:.140} is not a task id", parameter="id") for task_id in wrong]
        )
    return task_ids


class WaitPreference(msgspec.Struct, frozen=True):
    """The wait time of a request, and whether `Prefer` (RFC 7240) contained it."""

    seconds: float
    is_preference: bool = False

    def acknowledge(self, response: Response) -> Response:
        """Add `Preference-Applied` if the wait came from `Prefer`."""
        if self.is_preference:
            response.headers["Preference-Applied"] = f"wait={self.seconds:.0f}"
        return response


def wait_preference() -> WaitPreference:
    """Return the wait of `?wait=`, or else of `Prefer: wait`, which is limited to `MAX_WAIT_SECONDS`.

    Without the scope `read`, a preference is ignored.

    Raises:
        InvalidArguments: `wait` is not a number from 0 to `MAX_WAIT_SECONDS`.
        Forbidden: `?wait=` requires the scope `read`.
    """
    text = request.args.get("wait")
    if text is not None:
        if not _NUMBER.fullmatch(text) or not 0 <= float(text) <= MAX_WAIT_SECONDS:
            fault = Fault(f"must be a number from 0 to {MAX_WAIT_SECONDS}", parameter="wait")
            raise InvalidArguments(_UNUSABLE, [fault])
        require(Scope.READ)
        return WaitPreference(float(text))
    for preference in request.headers.get("Prefer", "").split(","):
        if (found := _PREFER_WAIT.fullmatch(preference)) and caller().may(Scope.READ):
            return WaitPreference(min(int(found[1]), MAX_WAIT_SECONDS), is_preference=True)
    return WaitPreference(0)


def if_none_match() -> str | None:
    """Return the `If-None-Match` header; None if it is missing."""
    return request.headers.get("If-None-Match")
