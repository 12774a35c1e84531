"""The one who asks: what it may do, and whose tasks it sees. Who is who, keys and tokens say (api/access.py)."""

import enum
from typing import Final

import msgspec

from task_status_service.errors import Forbidden
from task_status_service.status import Snapshot


class Scope(enum.StrEnum):
    """Name what a caller may do; none implies another."""

    #: submit and retry tasks, and forget those that are done
    SUBMIT = "submit"
    #: read, list, wait for and watch tasks
    READ = "read"
    CANCEL = "cancel"
    #: all tasks, and not only one's own
    ADMIN = "admin"
    #: see statuses from inside: with tracebacks, worker names and paths of files
    TRACEBACKS = "tracebacks"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Say who asks, and what for."""

    #: the name of its keys: several keys of one name are one owner; None: there are no keys here
    owner: str | None
    scopes: frozenset[Scope]
    #: the only task that it may touch; None: it comes with a key and not with a task token
    task_id: str | None = None
    #: the key that it came with, or that its task token was made by
    key_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Tell whether it has a scope."""
        return scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Let those pass who have a scope.

        Raises:
            Forbidden: it has not.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This needs the scope `{scope}`.")

    def sees(self, found: Snapshot) -> bool:
        """Tell whether this task exists for it: any other is to read as one that nobody ever heard of."""
        if self.task_id is not None:
            return found.task_id == self.task_id
        return Scope.ADMIN in self.scopes or (self.owner is not None and found.owner == self.owner)


#: everybody, where there are no keys
ANYBODY: Final = Caller(owner=None, scopes=frozenset(Scope))
