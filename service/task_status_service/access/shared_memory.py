"""Numbers per key in a fixed amount of memory, which the processes of one server share.

The memory is mapped before the server forks its processes, so each process reads what the others have written, without
a round trip. There is no lock, because a killed process would hold it forever: each cell is one aligned machine word,
and two processes that write the same cell at the same moment lose one of the two changes at most.
"""

import mmap
from collections import Counter
from collections.abc import Sequence
from typing import Final

#: keys that have a number at one time
MOST_KEYS: Final = 16_384
#: cells in which the number of one key may be stored
_WAYS: Final = 8
_BYTES: Final = 8


class Cells:
    """A number per key; 0 for each other key. Beyond `most` keys, a small number is replaced before a large one."""

    def __init__(self, most: int = MOST_KEYS) -> None:
        """Map the memory; pages that are never written need none."""
        self._sets = max(1, most // _WAYS)
        count = self._sets * _WAYS
        # Without a file, so that only forked processes can read it.
        words = memoryview(mmap.mmap(-1, 2 * count * _BYTES)).cast("q")
        self._digests, self._numbers = words[:count], words[count:]

    def get(self, key: str) -> int:
        """Return the number of a key."""
        digest = hash(key)
        first = digest % self._sets * _WAYS
        digests = self._digests[first : first + _WAYS].tolist()
        return self._numbers[first + digests.index(digest)] if digest in digests else 0

    def put(self, key: str, number: int) -> None:
        """Store the number of a key."""
        self._numbers[self._place(key)] = number

    def advance(self, key: str, floor: int, by: int) -> int:
        """Raise the number of a key to `floor` if it is smaller, add to it, and return it.

        Reading and writing follow each other directly: a process that is interrupted in between, for as long as the
        others run, would undo all of their changes.
        """
        place = self._place(key)
        self._numbers[place] = number = max(self._numbers[place], floor) + by
        return number

    def _place(self, key: str) -> int:
        """Return the cell of a key, if necessary that of the smallest number beside it, which is set to 0."""
        # Python's hash of a text is keyed by a secret, which forked processes share: no client can choose the place.
        digest = hash(key)
        first = digest % self._sets * _WAYS
        digests = self._digests[first : first + _WAYS].tolist()
        if digest in digests:
            return first + digests.index(digest)
        numbers = self._numbers[first : first + _WAYS].tolist()
        place = first + numbers.index(min(numbers))
        self._digests[place], self._numbers[place] = digest, 0
        return place

    def clear(self) -> None:
        """Set the number of each key to 0."""
        for words in (self._digests, self._numbers):
            words[:] = memoryview(bytes(len(words) * _BYTES)).cast("q")


class Counts:
    """A count per key in this process, and the sum over all processes."""

    def __init__(self, published: Cells, others: Sequence[Cells] = ()) -> None:
        """Create counts.

        Args:
            published: memory for the counts of this process, which only it writes.
            others: the same of the other processes.
        """
        self._own: Counter[str] = Counter()
        self._published = published
        self._others = others

    def total(self, key: str) -> int:
        """Return the count of a key in all processes."""
        return self._own[key] + sum(other.get(key) for other in self._others)

    def change(self, key: str, by: int) -> None:
        """Add to the count of a key in this process."""
        self._own[key] += by
        self._published.put(key, self._own[key])
        if not self._own[key]:
            del self._own[key]


class LimitMemory:
    """The memory of all limits of one server. Create it before the processes are forked."""

    def __init__(self, processes: int = 1) -> None:
        """Map memory for some processes at one time."""
        # A table for each limit, so that many keys of one limit do not replace those of another.
        self.key_requests, self.token_requests, self.tokens_requests = Cells(), Cells(), Cells()
        self.failures, self.expired_tokens = Cells(), Cells()
        self._watches = [Cells() for _ in range(processes)]
        self._free = list(range(processes))

    def claim(self) -> int | None:
        """Reserve the memory of a process that is about to be forked, and return its number; None if all is in use."""
        return self._free.pop(0) if self._free else None

    def release(self, process: int | None) -> None:
        """Free the memory of a process that has ended, however it has ended."""
        if process is not None:
            self._watches[process].clear()
            self._free.append(process)

    def watches(self, process: int | None) -> Counts:
        """Return the counts of watches for a process; without a number it counts its own watches only."""
        if process is None:
            return Counts(Cells())
        return Counts(
            self._watches[process], [cells for number, cells in enumerate(self._watches) if number != process]
        )
