"""Who may do what: the caller of a request, by its key or task token."""

from typing import TYPE_CHECKING, Any, Final, cast

from flask import Flask, current_app, g, request

from task_status_service.caller import ANYBODY, Caller, Scope

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access", "Caller", "Scope", "attach", "caller", "counted_as", "require"]

_NAME: Final = "task-status-access"


class Access:
    """Tell who asks. Without keys everybody is one caller, who may do everything."""

    def authenticate(self, environ: "WSGIEnvironment") -> Caller:
        """Tell who sends a request; at next to no cost for who was here a moment ago.

        Raises:
            Unauthorized: it comes without a key or token that counts.
        """
        return ANYBODY


def attach(app: Flask, access: Access) -> None:
    """Let the views of an app know who asks."""
    app.extensions[_NAME] = access


def caller() -> Caller:
    """Tell who sends the current request.

    Raises:
        Unauthorized: nobody whom we know.
    """
    known: Any = g.get(_NAME)
    if known is None:
        known = cast("Access", current_app.extensions[_NAME]).authenticate(request.environ)
        setattr(g, _NAME, known)
    return cast("Caller", known)


def require(scope: Scope) -> None:
    """Let those pass who have a scope.

    Raises:
        Unauthorized: nobody whom we know.
        Forbidden: somebody without it.
    """
    caller().require(scope)


def counted_as() -> str:
    """Name what limits count by: the owner, or the address where there are no keys."""
    return caller().owner or request.remote_addr or ""
