"""How often one may ask: requests of an owner, and those from an address whose sender is not known.

Counted in this process alone, without a trip to anywhere: with N server processes up to N times as much passes.
"""

import ipaddress
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from task_status_service.access.rate_limit import Budget, RateLimit
from task_status_service.errors import RateLimited

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

#: where a request keeps the headers that tell of its limit
_HEADERS: Final = "task-status.limit-headers"
#: how long an owner may ask faster than in the long run, in seconds
BURST_SECONDS: Final = 10
#: failed authentications of one address: at once, and one more each so many seconds
FAILURES: Final = 30
FAILURE_SECONDS: Final = 2
#: who has a network has all of its addresses: IPv6 is given out by these
_IPV6_PREFIX: Final = 64


class Limits:
    """Count requests. Where there are no keys only this machine asks, and nothing is limited."""

    def __init__(self, requests: RateLimit | None = None, *, failures: RateLimit | None = None) -> None:
        """Take the limit of each owner's requests; None: there is none."""
        self._requests = requests
        self._failures = failures or RateLimit(1 / FAILURE_SECONDS, FAILURES)
        # draft-ietf-httpapi-ratelimit-headers-11, sections 3 and 4.
        self._policy = ("RateLimit-Policy", _policy(requests)) if requests else ("", "")

    @classmethod
    def of(cls, requests_per_second: int) -> "Limits":
        """Let each owner ask so often in the long run, and faster for a while; 0: as often as it likes."""
        if not requests_per_second:
            return cls()
        return cls(RateLimit(requests_per_second, requests_per_second * BURST_SECONDS))

    def count(self, environ: "WSGIEnvironment", owner: str | None) -> None:
        """Count a request of an owner; None: nobody is told from anybody.

        Raises:
            RateLimited: too many.
        """
        if self._requests is None or owner is None:
            return
        budget = self._requests.take(owner)
        environ[_HEADERS] = (self._policy, ("RateLimit", _state(budget)))
        if budget.wait_seconds:
            raise RateLimited(retry_after_seconds=budget.wait_seconds)

    def count_failure(self, environ: "WSGIEnvironment") -> None:
        """Count a request whose sender is not known. Who has a key that counts is never held up by those who have not.

        Raises:
            RateLimited: too many from its address.
        """
        budget = self._failures.take(_network(environ.get("REMOTE_ADDR", "")))
        if budget.wait_seconds:
            raise RateLimited(
                "Too many requests without a key that counts, from this address.",
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
