"""A clock that tests set."""


class Clock:
    """A clock that stands still until a test sets `now`, in the unit of the tested code."""

    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
