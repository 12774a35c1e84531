"""Limits of each caller: its requests, its waits and streams, and failed authentications of its address.

Costs fall on the caller that causes them. A task token has its own budget, a share of the budget of all
task tokens of its owner; the keys of the owner have a separate one. All processes of a server count together
(docs/decisions/0040-limits-of-each-caller.md).
"""

import functools
import ipaddress
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from task_status_service.access.caller import Caller
from task_status_service.access.rate_limit import Budget, RateLimit
from task_status_service.access.shared_memory import LimitMemory
from task_status_service.access.watch_limits import WatchLimit
from task_status_service.errors import RateLimited

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: key of the WSGI environ under which the RateLimit headers of a request are stored
_HEADERS: Final = "task-status.limit-headers"
#: seconds of the sustained rate that a caller may use at once
BURST_SECONDS: Final = 10
#: share of one task token in the requests of all task tokens of its owner
TOKEN_SHARE: Final = 1 / 20
#: concurrent waits and streams of one task token: an open page needs one, and two during a reload
TOKEN_WATCHES: Final = 4
#: concurrent waits and streams of all task tokens of an owner, compared with those of its keys: a key can watch many
#: tasks in one stream, but each open page has its own stream
TOKENS_WATCHES: Final = 2
#: failed authentications that one address may make at once, and seconds until one more is allowed
FAILURES: Final = 30
FAILURE_SECONDS: Final = 2
#: the same for expired task tokens. They come from pages left open, of which many may share an address
EXPIRED: Final = 300
EXPIRED_SECONDS: Final = 0.1
#: a client usually controls a whole IPv6 network of this prefix length, so its addresses are counted as one
_IPV6_PREFIX: Final = 64

_WAIT: Final = "wait for the time in `Retry-After`"
_TOO_MANY_OF_KEYS: Final = (
    f"Too many requests with the keys of this owner: {_WAIT}, or read up to 100 tasks with one request. The operator "
    "can raise TASK_STATUS_REQUESTS_PER_SECOND."
)
_TOO_MANY_OF_TOKEN: Final = (
    f"Too many requests with this task token: {_WAIT}, and watch the event stream of the task instead of polling."
)
_TOO_MANY_OF_TOKENS: Final = (
    f"Too many requests with all task tokens of the owner of this token together: {_WAIT}. The operator can raise "
    "TASK_STATUS_REQUESTS_PER_SECOND."
)
_TOO_MANY_OF_FAILURES: Final = "Too many requests without a valid key from this address: wait, or send a valid key."
_TOO_MANY_OF_EXPIRED: Final = (
    "Too many requests with expired task tokens from this address: request another token from its issuer."
)
_TOO_MANY_WATCHES_OF_KEYS: Final = (
    "Too many concurrent waits and event streams with the keys of this owner: close some, watch up to 100 tasks with "
    "one stream, or poll. The operator can raise TASK_STATUS_WATCHES_PER_CALLER."
)
_TOO_MANY_WATCHES_OF_TOKEN: Final = (
    "Too many concurrent waits and event streams with this task token: "  # noqa: S105 - an error message
    "close some, or use a token for each page."
)
_TOO_MANY_WATCHES_OF_TOKENS: Final = (
    "Too many concurrent waits and event streams with all task tokens of the owner of this token together: poll. The "
    "operator can raise TASK_STATUS_WATCHES_PER_CALLER."
)
_TOO_MANY_WATCHES_OF_ADDRESS: Final = (
    "Too many concurrent waits and event streams from this address: close some, watch up to 100 tasks with one stream, "
    "or poll. The operator can raise TASK_STATUS_WATCHES_PER_CALLER."
)


class Limits:
    """The limits of one server, which all of its processes share.

    A server without keys accepts only local requests, and limits only their waits and streams.
    """

    def __init__(
        self,
        requests_per_second: int = 0,
        *,
        watches_per_caller: int = 500,
        memory: LimitMemory | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """Create limits.

        Args:
            requests_per_second: sustained rate of all keys of one owner; 0 means unlimited.
            watches_per_caller: concurrent waits and streams of all keys of one owner.
            memory: memory of the counts, which the processes of a server share; None is memory of these limits alone.
            clock_ns: returns nanoseconds, in all processes of the machine the same.
        """
        memory = memory or LimitMemory()
        self._is_limited = requests_per_second > 0
        per_second = requests_per_second or 1
        limit = functools.partial(RateLimit, clock_ns=clock_ns)
        of_token = max(1, round(per_second * TOKEN_SHARE))
        self._keys = limit(per_second, BURST_SECONDS * per_second, memory.key_requests)
        self._token = limit(of_token, BURST_SECONDS * of_token, memory.token_requests)
        self._tokens = limit(per_second, BURST_SECONDS * per_second, memory.tokens_requests)
        self._failures = limit(1 / FAILURE_SECONDS, FAILURES, memory.failures)
        self._expired = limit(1 / EXPIRED_SECONDS, EXPIRED, memory.expired_tokens)
        # draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
        self._key_policy, self._token_policy = _policy(self._keys), _policy(self._token)
        self._watches_per_caller = watches_per_caller

    def count(self, environ: "WSGIEnvironment", caller: Caller) -> None:
        """Count a request of an owner's key, or of a task token; other requests are not limited.

        Raises:
            RateLimited: A limit of the caller is exceeded.
        """
        if not self._is_limited or caller.owner is None:
            return
        if caller.token_id is None:
            budget, exceeded = self._keys.take(caller.owner), _TOO_MANY_OF_KEYS
            environ[_HEADERS] = (self._key_policy, _state(budget))
        else:
            budget, exceeded = self._take_token(caller.owner, caller.token_id)
            environ[_HEADERS] = (self._token_policy, _state(budget))
        if budget.wait_seconds:
            raise RateLimited(exceeded, retry_after_seconds=budget.wait_seconds)

    def _take_token(self, owner: str, token_id: str) -> tuple[Budget, str]:
        """Count a request of a task token; return the smaller of its two budgets, and the error if it is exceeded."""
        # The token first: what it may not use must not be taken from the other tokens.
        own = self._token.take(token_id)
        if own.wait_seconds:
            return own, _TOO_MANY_OF_TOKEN
        together = self._tokens.take(owner)
        return together if together.wait_seconds or together.left < own.left else own, _TOO_MANY_OF_TOKENS

    def count_failure(self, address: str) -> None:
        """Count a failed authentication. Requests with a valid key are never limited by it.

        Raises:
            RateLimited: The limit of the address is exceeded.
        """
        _take(self._failures, address, _TOO_MANY_OF_FAILURES)

    def count_expired(self, address: str) -> None:
        """Count a request with an expired task token. It costs the owner of the token nothing.

        Raises:
            RateLimited: The limit of the address is exceeded.
        """
        _take(self._expired, address, _TOO_MANY_OF_EXPIRED)

    def watches(self, caller: Caller, address: str) -> Sequence[WatchLimit]:
        """Return the limits of a caller's concurrent waits and streams; the address counts on a server without keys."""
        if caller.owner is None:
            return [
                WatchLimit(f"address {network_of(address)}", self._watches_per_caller, _TOO_MANY_WATCHES_OF_ADDRESS)
            ]
        if caller.token_id is None:
            return [WatchLimit(f"keys {caller.owner}", self._watches_per_caller, _TOO_MANY_WATCHES_OF_KEYS)]
        together = self._watches_per_caller * TOKENS_WATCHES
        return [
            WatchLimit(f"token {caller.token_id}", TOKEN_WATCHES, _TOO_MANY_WATCHES_OF_TOKEN),
            WatchLimit(f"tokens {caller.owner}", together, _TOO_MANY_WATCHES_OF_TOKENS),
        ]


def rate_limit_headers(environ: "WSGIEnvironment") -> Sequence[tuple[str, str]]:
    """Return the RateLimit headers of a counted request; none for any other request."""
    headers: Sequence[tuple[str, str]] = environ.get(_HEADERS, ())
    return headers


def network_of(address: str) -> str:
    """Return the key under which a client address is counted."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))


def _take(limit: RateLimit, address: str, exceeded: str) -> None:
    budget = limit.take(network_of(address))
    if budget.wait_seconds:
        raise RateLimited(exceeded, retry_after_seconds=budget.wait_seconds)


def _policy(requests: RateLimit) -> tuple[str, str]:
    return "RateLimit-Policy", f'"requests";q={requests.burst};w={requests.window_seconds}'


def _state(budget: Budget) -> tuple[str, str]:
    return "RateLimit", f'"requests";r={budget.left};t={budget.wait_seconds or budget.full_seconds}'
