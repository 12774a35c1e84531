"""The budget of decoding: the limits of each value, and of all values of one request.

A value over a limit reads as too large: its state is read if it is near the beginning. The limits are in bytes and
nodes, so that the same bytes read the same on every machine; only a list has a limit in seconds too.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from task_status_service.status.stored.bounds import (
    MAX_INLINE_SIZE,
    MAX_LISTED_BYTES,
    MAX_LISTED_NODES,
    MAX_LISTED_SIZE,
    MAX_NODES,
    MAX_PAGE_BYTES,
    MAX_PAGE_NODES,
    MAX_PAGE_SECONDS,
    MAX_RESULT_SIZE,
    MAX_STORED_BYTES,
    MAX_UNSEEN_BYTES,
    MAX_UNSEEN_NODES,
    PAUSE_NODES,
)

#: nodes that cost as much as the part of decoding that every value needs
_NODES_PER_VALUE: Final = 100
#: bytes that take as long to inflate as one node to read; parsing takes less
_BYTES_PER_NODE: Final = 8


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one value."""

    #: inflated
    bytes: int
    #: values and containers; see `json_shape.py` for their weights
    nodes: int
    #: characters of the result, the custom meta or the failure's details
    characters: int


#: a task that is read alone
INLINE: Final = Limits(bytes=MAX_STORED_BYTES, nodes=MAX_NODES, characters=MAX_INLINE_SIZE)
#: a request of the result alone
RESULT: Final = Limits(bytes=MAX_STORED_BYTES, nodes=MAX_NODES, characters=MAX_RESULT_SIZE)
#: a task in a list
LISTED: Final = Limits(bytes=MAX_LISTED_BYTES, nodes=MAX_LISTED_NODES, characters=MAX_LISTED_SIZE)
#: a task of which only the state matters, or whose request has spent its budget
UNSEEN: Final = Limits(bytes=MAX_UNSEEN_BYTES, nodes=MAX_UNSEEN_NODES, characters=MAX_LISTED_SIZE)


def _no_pause() -> None:
    pass


class Budget:
    """The limits of the values that one request decodes. `pause` is called between parts of a long decoding."""

    def __init__(
        self,
        each: Limits = INLINE,
        *,
        clock: Callable[[], float] | None = None,
        pause: Callable[[], None] = _no_pause,
    ) -> None:
        """Create a budget: of a single value, or with a `clock` (monotonic, in seconds) of all values of a page."""
        self.each = each
        #: the limits of the present value
        self.limits = each
        self._clock = clock
        self._pause = pause
        self._ends_at = 0.0 if clock is None else clock() + MAX_PAGE_SECONDS
        self._bytes_left = MAX_PAGE_BYTES
        self._nodes_left = MAX_PAGE_NODES
        self._since_pause = 0

    @property
    def is_short(self) -> bool:
        """Return whether the values before it have left less for the present value than for a value alone."""
        return self.limits is not self.each

    def start_value(self) -> None:
        """Start to decode the next value: set its limits."""
        self.spend(nodes=_NODES_PER_VALUE)
        if self._clock is None:
            return
        is_late = self._clock() >= self._ends_at
        if is_late or self._bytes_left < self.each.bytes or self._nodes_left < self.each.nodes:
            self.limits = Limits(
                bytes=_between(UNSEEN.bytes, 0 if is_late else self._bytes_left, self.each.bytes),
                nodes=_between(UNSEEN.nodes, 0 if is_late else self._nodes_left, self.each.nodes),
                characters=self.each.characters,
            )

    def spend(self, *, nodes: int = 0, inflated_bytes: int = 0) -> None:
        """Subtract what the present value has taken, and let other requests run after `PAUSE_NODES`."""
        self._nodes_left -= nodes
        self._bytes_left -= inflated_bytes
        self._since_pause += nodes + inflated_bytes // _BYTES_PER_NODE
        if self._since_pause >= PAUSE_NODES:
            self._since_pause = 0
            self._pause()


def _between(low: int, value: int, high: int) -> int:
    return max(low, min(value, high))
