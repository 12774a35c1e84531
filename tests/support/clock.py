"""A clock that tests move by hand."""


class Clock:
    """A clock in seconds that stands still until a test sets `now`."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now
