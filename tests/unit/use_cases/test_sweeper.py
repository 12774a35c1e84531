"""The sweep of expired tasks: what it asks of the store, and that nothing ends it."""

import pytest
from task_status_service.errors import StoreUnavailable
from task_status_service.use_cases import sweeper
from task_status_service.use_cases.sweeper import START, Place, Sweeper


class CountedExpiry:
    """A store with some batches of due tasks and an index of three places."""

    def __init__(self, batches: int = 0, *errors: Exception) -> None:
        self.batches = batches
        self.errors = list(errors)
        self.calls = 0
        self.places: list[Place] = []

    def expire_due(self) -> bool:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        self.batches -= 1
        return self.batches > 0

    def check_index(self, place: Place) -> Place:
        self.places.append(place)
        return Place(b"key", place.rank + 1) if place.rank < 2 else START


def test_a_sweep_expires_all_due_tasks():
    """A sweep runs batches until no task is due, up to its limit."""
    few, many = CountedExpiry(3), CountedExpiry(10_000)
    Sweeper(few).sweep()
    Sweeper(many).sweep()
    assert (few.calls, many.calls) == (3, sweeper.MAX_BATCHES)


def test_each_sweep_checks_the_next_part_of_the_index():
    """Each sweep continues the check of the index, and begins again at its end."""
    store = CountedExpiry()
    one = Sweeper(store)
    for _ in range(5):
        one.sweep()
    assert [place.rank for place in store.places] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("error", [StoreUnavailable(), RuntimeError("a defect")])
def test_no_error_ends_the_sweep(error, caplog):
    """The loop continues after an outage and after a defect; only the defect is logged as an error."""
    store = CountedExpiry(0, error)
    over = iter([False, False, True])
    Sweeper(store, sleep=lambda _: None).run(lambda: next(over))

    assert (store.calls, len(store.places)) == (2, 1)
    assert [record.levelname for record in caplog.records] == ([] if isinstance(error, StoreUnavailable) else ["ERROR"])
