"""The caller of a request: its scopes and visible tasks. Authentication is in api/auth/authentication.py."""

import enum
from typing import Final

import msgspec

from task_status_service.errors import Forbidden
from task_status_service.status import Snapshot


class Scope(enum.StrEnum):
    """Permission of a caller; no scope implies another."""

    #: submit and retry tasks, and delete those that are done
    SUBMIT = "submit"
    #: read, list, wait for and watch tasks
    READ = "read"
    CANCEL = "cancel"
    #: access the tasks of all owners
    ADMIN = "admin"
    #: read the operator visibility: tracebacks, worker names and file paths
    TRACEBACKS = "tracebacks"


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller."""

    #: name of its API key, which other keys may share; None on a server without keys
    owner: str | None
    scopes: frozenset[Scope]
    #: the only accessible task, for a caller with a task token; None for a caller with a key
    task_id: str | None = None
    #: id of its key, or of the key that issued its task token
    key_id: str | None = None
    #: random id of its task token, which has separate limits; None for a caller with a key
    token_id: str | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether it has a scope."""
        return scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Require a scope.

        Raises:
            Forbidden: The caller does not have the scope.
        """
        if scope not in self.scopes:
            raise Forbidden(f"This operation requires the scope `{scope}`: use a key that has it.")

    def sees(self, found: Snapshot) -> bool:
        """Return whether a task is visible to it; an invisible task must read like an unknown one."""
        if self.task_id is not None:
            return found.task_id == self.task_id
        return Scope.ADMIN in self.scopes or (self.owner is not None and found.owner == self.owner)


#: the caller of every request on a server without keys
ANYBODY: Final = Caller(owner=None, scopes=frozenset(Scope))
