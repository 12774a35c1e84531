"""Limits for retries of requests."""

from typing import NamedTuple


class Retries(NamedTuple):
    """Limits of retries, in seconds."""

    #: how long to retry a request
    seconds: float = 10.0
    #: the same, for a followed task whose service has answered before
    long_seconds: float = 60.0
    #: pause between two attempts, if the response has no Retry-After
    pause_seconds: float = 1.0
