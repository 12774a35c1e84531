"""Authentication and authorization of requests, by API key or task token.

On a server without keys all requests have the same caller, which has every scope.
"""

import functools
import re
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import parse_qs

from flask import Flask, current_app, g, request

from task_status_service.access import task_tokens
from task_status_service.access.api_keys import KeyFile, Keyring
from task_status_service.access.caller import ANYBODY, Caller, Scope
from task_status_service.access.client_address import TrustedProxies
from task_status_service.access.task_tokens import TaskToken
from task_status_service.access.watch_limits import WatchLimit
from task_status_service.api.auth.loopback import check_local
from task_status_service.api.auth.rate_limits import Limits
from task_status_service.errors import Forbidden, TokenExpired, Unauthorized

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_NAME: Final = "task-status-access"
#: key of the WSGI environ: whether the request is authenticated and within its limits
IS_ADMITTED: Final = "task_status.is_admitted"
#: TTL of the authentication cache; the expiry of a key or token takes effect late by up to this many seconds
CACHE_SECONDS: Final = 1.0
#: limit of cached callers, and of the characters of a cached Authorization header
MAX_CACHED: Final = 4_096
MAX_CACHED_LENGTH: Final = 512

_BEARER: Final = re.compile(r"Bearer +(\S+)", re.IGNORECASE)
#: the only path that accepts a token in the query, because a browser's EventSource cannot send headers
_EVENTS_OF_ONE: Final = re.compile(r"/tasks/[^/]+/events")
_QUERY_TOKEN: Final = "access_token"  # noqa: S105 - the name of a parameter
#: the part of the WSGI environment that authentication reads
_AUTHENTICATION: Final = ("HTTP_AUTHORIZATION", "QUERY_STRING", "PATH_INFO")


class Keys(Protocol):
    """Source of the API keys of this server."""

    def current(self) -> Keyring:
        """Return the keys as a keyring; a changed set of keys is a new object."""
        ...


class Access:
    """Authentication and rate limits of all requests."""

    def __init__(
        self,
        keys: Keys | None = None,
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
        is_local: bool = True,
        origins: Collection[str] = (),
        proxies: TrustedProxies = TrustedProxies(),  # noqa: B008 - immutable
    ) -> None:
        """Create the access control of a server.

        Args:
            keys: the API keys; None disables authentication.
            limits: rate limits; None is the default.
            clock: returns seconds since the epoch.
            is_local: without keys, accept requests to loopback hosts only.
            origins: with `is_local`, the origins whose pages may change something.
            proxies: the proxies that report the address of a client.
        """
        self._limits = limits or Limits()
        self._keys = keys
        self._is_local = is_local
        self._origins = origins
        self._proxies = proxies
        self._clock = clock
        self._keyring: Keyring | None = None
        self._cached: dict[str, Caller] = {}
        self._cached_until = 0.0
        # A server without keys issues tokens, so that the same client works with it, and ignores them in requests.
        self._unkeyed = Keyring(KeyFile(signing_secret=secrets.token_hex(32)))

    def admit(self, environ: "WSGIEnvironment") -> Caller:
        """Authenticate a request and count it against the rate limits.

        Raises:
            Unauthorized: The request has no valid key or token.
            Forbidden: The server has no keys, and the request is not from this machine.
            RateLimited: A limit of the key, of the task token, or of failures from the address, is exceeded.
        """
        try:
            authenticated = self.authenticate(environ)
        except TokenExpired:
            # From a page left open, not from a guess. The holder pays, because the owner cannot stop the page.
            self._limits.count_expired(self.address(environ))
            raise
        except Unauthorized:
            self._limits.count_failure(self.address(environ))
            raise
        self._limits.count(environ, authenticated)
        environ[IS_ADMITTED] = True
        return authenticated

    def address(self, environ: "WSGIEnvironment") -> str:
        """Return the address of the client, which a trusted proxy may report; an empty text if it is unknown."""
        return self._proxies.client_of(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"))

    def watch_limits(self, environ: "WSGIEnvironment", admitted: Caller) -> Sequence[WatchLimit]:
        """Return the limits of the caller's concurrent waits and streams."""
        return self._limits.watches(admitted, self.address(environ))

    def authenticate(self, environ: "WSGIEnvironment") -> Caller:
        """Authenticate a request without counting it; callers are cached for `CACHE_SECONDS`.

        Raises:
            Unauthorized: The request has no valid key or token.
            Forbidden: The server has no keys, and the request is not from this machine.
        """
        if self._keys is None:
            if self._is_local:
                check_local(environ, self._origins)
            return ANYBODY
        keyring, now = self._keys.current(), self._clock()
        if keyring is not self._keyring or now >= self._cached_until or len(self._cached) >= MAX_CACHED:
            self._keyring, self._cached, self._cached_until = keyring, {}, now + CACHE_SECONDS
        header = environ.get("HTTP_AUTHORIZATION")
        if header is None:
            return self._by_query(keyring, environ, now)
        cached = self._cached.get(header)
        if cached is None:
            cached = _by_header(keyring, header, now)
            if len(header) <= MAX_CACHED_LENGTH:
                self._cached[header] = cached
        return cached

    def _by_query(self, keyring: Keyring, environ: "WSGIEnvironment", now: float) -> Caller:
        query = environ.get("QUERY_STRING", "")
        if _QUERY_TOKEN not in query or not _EVENTS_OF_ONE.fullmatch(environ["PATH_INFO"]):
            raise Unauthorized
        given = parse_qs(query).get(_QUERY_TOKEN, [])
        return _by_token(keyring, given[0] if len(given) == 1 else "", now)

    def issue(
        self, token_for: Caller, task_id: str, scopes: frozenset[Scope], ttl_seconds: int
    ) -> tuple[str, TaskToken]:
        """Issue a task token, which expires no later than the caller's key; the caller must see the task."""
        keyring = self._keys.current() if self._keys else self._unkeyed
        now = datetime.fromtimestamp(self._clock(), UTC)
        key = keyring.key(token_for.key_id or "", now)
        token = TaskToken(
            task_id=task_id,
            scopes=scopes,
            key_id=token_for.key_id or "",
            expires=task_tokens.expiry(now, ttl_seconds, key.expires_at if key else None),
            id=task_tokens.new_id(),
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
        raise Unauthorized("Invalid API key: unknown, revoked or expired. Ask the operator for another one.")
    return Caller(owner=key.name, scopes=key.scopes, key_id=key.id)


def _by_token(keyring: Keyring, text: str, now: float) -> Caller:
    at = datetime.fromtimestamp(now, UTC)
    token = task_tokens.verify(text, keyring.signing_secret)
    if token is None:
        raise Unauthorized("Invalid task token: malformed. Request another one from its issuer.")
    key = keyring.key(token.key_id, at)
    if key is None:
        raise TokenExpired("Invalid task token: its key was revoked or has expired. Request another one.")
    if token.expires_at <= at:
        raise TokenExpired
    return Caller(owner=key.name, scopes=token.scopes, task_id=token.task_id, key_id=key.id, token_id=token.id)


def attach(app: Flask, access: Access) -> None:
    """Attach the access control to an app, for its views."""
    app.extensions[_NAME] = access


def _access() -> Access:
    return cast("Access", current_app.extensions[_NAME])


def caller() -> Caller:
    """Return the caller of the current request; the first call authenticates and counts it.

    Raises:
        Unauthorized: The request has no valid key or token.
        Forbidden: The server has no keys, and the request is not from this machine.
        RateLimited: A limit of the key, of the task token, or of failures from the address, is exceeded.
    """
    admitted: Any = g.get(_NAME)
    if admitted is None:
        admitted = _access().admit(request.environ)
        setattr(g, _NAME, admitted)
    return cast("Caller", admitted)


def charge(further_requests: int) -> None:
    """Count the current request, which costs as much as several, further times.

    Raises:
        RateLimited: The limit of the owner is exceeded.
    """
    for _ in range(further_requests):
        _access().admit(request.environ)


def require(scope: Scope) -> None:
    """Require that the caller has a scope.

    Raises:
        Unauthorized: The request has no valid key or token.
        Forbidden: The caller does not have the scope.
    """
    caller().require(scope)


def known_caller() -> Caller | None:
    """Return the caller of a request that needs no key; None without a valid key or token. It is not counted.

    Raises:
        Forbidden: The server has no keys, and the request is not from this machine.
    """
    try:
        return _access().authenticate(request.environ)
    except Unauthorized:
        return None


def guarded(view: Callable[..., Any], scope: Scope) -> Callable[..., Any]:
    """Require a scope before the request is read; limit task tokens to paths of one task."""

    @functools.wraps(view)
    def check(*args: Any, **kwargs: Any) -> Any:
        current = caller()
        if current.task_id is not None and "task_id" not in kwargs:
            raise Forbidden("A task token is valid only for the paths of one task: use an API key.")
        current.require(scope)
        return view(*args, **kwargs)

    return check


def still_allowed() -> Callable[[], bool]:
    """Return a function that authenticates the current request again, later and outside of its context."""
    access = _access()
    environ: WSGIEnvironment = {name: request.environ[name] for name in _AUTHENTICATION if name in request.environ}

    def is_allowed() -> bool:
        try:
            access.authenticate(environ)
        except Unauthorized:
            return False
        return True

    return is_allowed


def issue_token(task_id: str, scopes: frozenset[Scope], ttl_seconds: int) -> tuple[str, TaskToken]:
    """Issue a task token to the current caller, which must see the task.

    Raises:
        Forbidden: The caller lacks one of the scopes, or authenticated with a task token.
    """
    current = caller()
    if current.task_id is not None:
        raise Forbidden("A task token cannot issue other tokens: use an API key.")
    for scope in sorted(scopes):
        current.require(scope)
    return _access().issue(current, task_id, scopes, ttl_seconds)


def watch_limits() -> Sequence[WatchLimit]:
    """Return the limits of concurrent waits and streams of the current caller."""
    return _access().watch_limits(request.environ, caller())
