"""Rate limits: requests per owner, and failed authentications per address.

Each process counts on its own, without a round trip: N server processes allow up to N times as many requests.
"""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from task_status_service.access.rate_limit import Budget, RateLimit
from task_status_service.errors import RateLimited

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: key of the WSGI environment under which the RateLimit headers of a request are stored
_HEADERS: Final = "task-status.limit-headers"
#: seconds of the sustained rate that an owner may use at once
BURST_SECONDS: Final = 10
#: failed authentications that one address may make at once, and seconds until one more is allowed
FAILURES: Final = 30
FAILURE_SECONDS: Final = 2
#: a client usually controls a whole IPv6 network of this prefix length, so its addresses are counted as one
_IPV6_PREFIX: Final = 64


class Limits:
    """Rate limits of one process. A server without keys accepts only local requests and has no limits."""

    def __init__(self, requests: RateLimit | None = None, *, failures: RateLimit | None = None) -> None:
        """Create limits.

        Args:
            requests: limit of each owner's requests; None disables it.
            failures: limit of each address's failed authentications; None is the default limit.
        """
        self._requests = requests
        self._failures = failures or RateLimit(1 / FAILURE_SECONDS, FAILURES)
        # draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
        self._policy = ("RateLimit-Policy", _policy(requests)) if requests else ("", "")

    @classmethod
    def of(cls, requests_per_second: int) -> "Limits":
        """Create limits with a sustained rate per owner and a burst; 0 means unlimited."""
        if not requests_per_second:
            return cls()
        return cls(RateLimit(requests_per_second, requests_per_second * BURST_SECONDS))

    def count(self, environ: "WSGIEnvironment", owner: str | None) -> None:
        """Count a request of an owner; a request without an owner is not limited.

        Raises:
            RateLimited: The owner's limit is exceeded.
        """
        if self._requests is None or owner is None:
            return
        budget = self._requests.take(owner)
        environ[_HEADERS] = (self._policy, ("RateLimit", _state(budget)))
        if budget.wait_seconds:
            raise RateLimited(retry_after_seconds=budget.wait_seconds)

    def count_failure(self, environ: "WSGIEnvironment") -> None:
        """Count a failed authentication. Requests with a valid key are never limited by it.

        Raises:
            RateLimited: The limit of the address is exceeded.
        """
        budget = self._failures.take(_network(environ.get("REMOTE_ADDR", "")))
        if budget.wait_seconds:
            raise RateLimited(
                "Too many requests without a valid key from this address: wait, or send a valid key.",
                retry_after_seconds=budget.wait_seconds,
            )


def rate_limit_headers(environ: "WSGIEnvironment") -> Sequence[tuple[str, str]]:
    """Return the RateLimit headers of a counted request; none for any other request."""
    headers: Sequence[tuple[str, str]] = environ.get(_HEADERS, ())
    return headers


def _policy(requests: RateLimit) -> str:
    return f'"requests";q={requests.burst};w={requests.window_seconds}'


def _state(budget: Budget) -> str:
    return f'"requests";r={budget.left};t={budget.wait_seconds or budget.full_seconds}'


def _network(address: str) -> str:
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], _IPV6_PREFIX), strict=False))
