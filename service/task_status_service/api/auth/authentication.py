"""Who may do what: the caller of a request, by its API key or task token.

A server without keys knows no one from another: everybody is one caller, who may do everything.
"""

import functools
import re
import secrets
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import parse_qs

from flask import Flask, current_app, g, request

from task_status_service.access import task_tokens
from task_status_service.access.api_keys import KeyFile, Keyring
from task_status_service.access.caller import ANYBODY, Caller, Scope
from task_status_service.access.task_tokens import TaskToken
from task_status_service.api.auth.loopback import check_local
from task_status_service.api.auth.rate_limits import Limits
from task_status_service.errors import Forbidden, TokenExpired, Unauthorized

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

__all__ = ["Access", "Caller", "Scope", "attach", "caller", "counted_as", "guarded", "issue_token", "require"]

_NAME: Final = "task-status-access"
#: how long a caller is remembered: what was a key a moment ago is not looked at again. An expiry is late by so much.
REMEMBERED_SECONDS: Final = 1.0
#: callers that are remembered at a time, and how long the header of one may be
MAX_REMEMBERED: Final = 4_096
MAX_REMEMBERED_LENGTH: Final = 512

_BEARER: Final = re.compile(r"Bearer +(\S+)", re.IGNORECASE)
#: the one path whose token may be in the query, for a browser's EventSource can send no headers
_EVENTS_OF_ONE: Final = re.compile(r"/tasks/[^/]+/events")
_QUERY_TOKEN: Final = "access_token"  # noqa: S105 - the name of a parameter


#: all of a request that says who asks
_ASKED_FOR: Final = ("HTTP_AUTHORIZATION", "QUERY_STRING", "PATH_INFO")


class Keys(Protocol):
    """Holds the keys of this server."""

    @property
    def current(self) -> Keyring:
        """Give the keys; another object whenever they are others."""
        ...


class Access:
    """Tell who asks."""

    def __init__(
        self,
        keys: Keys | None = None,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        is_local: bool = True,
        origins: Collection[str] = (),
    ) -> None:
        """Take the keys; None: there are none. The clock is in seconds since the epoch.

        Without keys and `is_local`, requests are for this machine only, and of pages for those of these origins.
        """
        self._limits = limits or Limits()
        self._keys = keys
        self._is_local = is_local
        self._origins = origins
        self._clock = clock
        self._keyring: Keyring | None = None
        self._remembered: dict[str, Caller] = {}
        self._forgets_at = 0.0
        # Tokens of a server without keys are not looked at. They are made all the same, so that clients work with both.
        self._unkeyed = Keyring(KeyFile(signing_secret=secrets.token_hex(32)))

    def enter(self, environ: "WSGIEnvironment") -> Caller:
        """Tell who sends a request, and count it.

        Raises:
            Unauthorized: it comes without a key or token that counts.
            RateLimited: too many of its owner, or too many such ones from its address.
        """
        try:
            who = self.authenticate(environ)
        except TokenExpired as expired:
            # No guess, but a page that was left open: it must not lock its address out.
            self._limits.count(environ, expired.owner)
            raise
        except Unauthorized:
            self._limits.count_failure(environ)
            raise
        self._limits.count(environ, who.owner)
        return who

    def authenticate(self, environ: "WSGIEnvironment") -> Caller:
        """Tell who sends a request; at next to no cost for who was here a moment ago.

        Raises:
            Unauthorized: it comes without a key or token that counts.
            Forbidden: there are no keys, and it is not meant for this machine.
        """
        if self._keys is None:
            if self._is_local:
                check_local(environ, self._origins)
            return ANYBODY
        keyring, now = self._keys.current, self._clock()
        if keyring is not self._keyring or now >= self._forgets_at or len(self._remembered) >= MAX_REMEMBERED:
            self._keyring, self._remembered, self._forgets_at = keyring, {}, now + REMEMBERED_SECONDS
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            return self._by_query(keyring, environ, now)
        known = self._remembered.get(header)
        if known is None:
            known = _by_header(keyring, header, now)
            if len(header) <= MAX_REMEMBERED_LENGTH:
                self._remembered[header] = known
        return known

    def _by_query(self, keyring: Keyring, environ: "WSGIEnvironment", now: float) -> Caller:
        query = environ.get("QUERY_STRING", "")
        if _QUERY_TOKEN not in query or not _EVENTS_OF_ONE.fullmatch(environ["PATH_INFO"]):
            raise Unauthorized
        given = parse_qs(query).get(_QUERY_TOKEN, [])
        return _by_token(keyring, given[0] if len(given) == 1 else "", now)

    def issue(
        self, token_for: Caller, task_id: str, scopes: frozenset[Scope], ttl_seconds: int
    ) -> tuple[str, TaskToken]:
        """Make a token for one task, which the caller was found to see; it counts no longer than the caller's key."""
        keyring = self._keys.current if self._keys else self._unkeyed
        now = datetime.fromtimestamp(self._clock(), UTC)
        key = keyring.key(token_for.key_id or "", now)
        token = TaskToken(
            task_id=task_id,
            scopes=scopes,
            key_id=token_for.key_id or "",
            expires=task_tokens.expiry(now, ttl_seconds, key.expires_at if key else None),
        )
        return task_tokens.sign(token, keyring.signing_secret), token


def _by_header(keyring: Keyring, header: str, now: float) -> Caller:
    match = _BEARER.fullmatch(header.strip())
    if match is None:
        raise Unauthorized
    if match[1].startswith(task_tokens.PREFIX):
        return _by_token(keyring, match[1], now)
    key = keyring.key_of(match[1], datetime.fromtimestamp(now, UTC))
    if key is None:
        raise Unauthorized("This key does not count: it is unknown, revoked or expired.")
    return Caller(owner=key.name, scopes=key.scopes, key_id=key.id)


def _by_token(keyring: Keyring, text: str, now: float) -> Caller:
    at = datetime.fromtimestamp(now, UTC)
    token = task_tokens.verify(text, keyring.signing_secret)
    key = keyring.key(token.key_id, at) if token else None
    if token is None or key is None:
        raise Unauthorized("This token does not count: it is not one, or its key was revoked or has expired.")
    if token.expires_at <= at:
        raise TokenExpired(key.name)
    return Caller(owner=key.name, scopes=token.scopes, task_id=token.task_id, key_id=key.id)


def attach(app: Flask, access: Access) -> None:
    """Let the views of an app know who asks."""
    app.extensions[_NAME] = access


def _access() -> Access:
    return cast("Access", current_app.extensions[_NAME])


def caller() -> Caller:
    """Tell who sends the current request, which is counted when this is asked for the first time.

    Raises:
        Unauthorized: nobody whom we know.
        RateLimited: somebody who asks too often.
    """
    known: Any = g.get(_NAME)
    if known is None:
        known = _access().enter(request.environ)
        setattr(g, _NAME, known)
    return cast("Caller", known)


def require(scope: Scope) -> None:
    """Let those pass who have a scope.

    Raises:
        Unauthorized: nobody whom we know.
        Forbidden: somebody without it.
    """
    caller().require(scope)


def guarded(view: Callable[..., Any], scope: Scope) -> Callable[..., Any]:
    """Ask before anything of a request is read. The holder of a task token gets no further than to paths of a task."""

    @functools.wraps(view)
    def ask(*args: Any, **kwargs: Any) -> Any:
        who = caller()
        if who.task_id is not None and "task_id" not in kwargs:
            raise Forbidden("A task token is good for the paths of its one task.")
        who.require(scope)
        return view(*args, **kwargs)

    return ask


def still_allowed() -> Callable[[], bool]:
    """Give what tells, later and outside of the request, whether its caller would still be let in."""
    access = _access()
    environ: WSGIEnvironment = {name: request.environ[name] for name in _ASKED_FOR if name in request.environ}

    def is_allowed() -> bool:
        try:
            access.authenticate(environ)
        except Unauthorized:
            return False
        return True

    return is_allowed


def issue_token(task_id: str, scopes: frozenset[Scope], ttl_seconds: int) -> tuple[str, TaskToken]:
    """Make a token for one task, which the caller was found to see.

    Raises:
        Forbidden: the caller has not the scopes itself, or comes with a token.
    """
    who = caller()
    if who.task_id is not None:
        raise Forbidden("A task token makes no other ones.")
    for scope in sorted(scopes):
        who.require(scope)
    return _access().issue(who, task_id, scopes, ttl_seconds)


def counted_as() -> str:
    """Name what limits count by: the owner, or the address where there are no keys."""
    return caller().owner or request.remote_addr or ""
