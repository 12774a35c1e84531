"""The catalog: available task types, and the caching of announcements."""

import json

import pytest
from support.clock import Clock
from task_status_service.errors import TaskTypeNotFound, UnknownQueue, UnknownTaskType
from task_status_service.task_types.catalog import FRESH_SECONDS, Catalog, TaskNames
from task_status_worker.record.keys import SEEN_SECONDS

NOW = 1_000_000.0


class Announcements:
    """Stored announcements, which may change, and the number of reads."""

    def __init__(self, *names: str) -> None:
        self.stored = {name.encode(): json.dumps({"name": name, "announced_at": NOW}).encode() for name in names}
        self.reads = 0

    def read(self):
        self.reads += 1
        return NOW, self.stored


def test_announced_types_are_found():
    """An announced name is found; any other is rejected."""
    catalog = Catalog(Announcements("shop.pay").read)

    assert catalog.find("shop.pay").name == "shop.pay"
    for name in ("shop.refund", "Shop.pay", "shop.pay ", "", "celery.backend_cleanup"):
        with pytest.raises(UnknownTaskType):
            catalog.find(name)


def test_announcements_are_cached():
    """Announcements are read again after `FRESH_SECONDS`."""
    announcements, clock = Announcements("shop.pay"), Clock(0.0)
    catalog = Catalog(announcements.read, clock=clock)

    for _ in range(10):
        catalog.find("shop.pay")
    assert announcements.reads == 1

    clock.now = FRESH_SECONDS
    catalog.find("shop.pay")
    assert announcements.reads == 2


def test_a_new_announcement_is_found_at_once():
    """The announcements are read again before an unknown name is rejected."""
    announcements = Announcements()
    catalog = Catalog(announcements.read)
    with pytest.raises(UnknownTaskType):
        catalog.find("shop.pay")

    announcements.stored = Announcements("shop.pay").stored

    assert catalog.find("shop.pay").name == "shop.pay"


def test_celerys_own_tasks_are_rejected():
    """Celery's own tasks are rejected without a read, even if they are announced or allowed."""
    announcements = Announcements("celery.group")
    for catalog in (
        Catalog(announcements.read),
        Catalog(announcements.read, allowed=TaskNames.parse("celery.group,celery.*")),
    ):
        with pytest.raises(UnknownTaskType):
            catalog.find("celery.group")
    assert announcements.reads == 0


def test_the_setting_determines_the_names():
    """The setting allows exactly its names, announced or not; an unannounced type accepts any arguments."""
    catalog = Catalog(Announcements("shop.pay", "shop.refund").read, allowed=TaskNames.parse("shop.pay,old.*"))

    assert catalog.find("shop.pay").name == "shop.pay"
    assert catalog.find("old.task").var_positional
    with pytest.raises(UnknownTaskType, match="settings"):
        catalog.find("shop.refund")


def test_an_old_announcement_is_ignored():
    """A type that no worker has announced for a day may not be submitted."""
    announcements = Announcements("shop.pay")
    catalog = Catalog(lambda: (NOW + SEEN_SECONDS, announcements.stored))

    with pytest.raises(UnknownTaskType):
        catalog.find("shop.pay")


@pytest.mark.parametrize("stored", [b"", b"{", b"\xff", b"[]", b'{"name": 3}', b"[" * 100_000, b'{"doc": "no name"}'])
def test_unreadable_announcements_are_skipped(stored):
    """An unreadable announcement does not affect the others."""
    announcements = Announcements("shop.pay")
    announcements.stored[b"garbage"] = stored

    assert Catalog(announcements.read).find("shop.pay").name == "shop.pay"


def consumer(*names: str, queues: tuple[str, ...] = ("pay",)) -> bytes:
    """Return the announcement of one live worker instance."""
    return json.dumps({"task_types": names, "queues": queues, "announced_at": NOW}).encode()


def announced_in(queue: str, *names: str) -> Announcements:
    """Return announcements of task types with one default queue."""
    announcements = Announcements(*names)
    for name in names:
        announcements.stored[name.encode()] = json.dumps({"name": name, "queue": queue, "announced_at": NOW}).encode()
    return announcements


def test_available_types_follow_the_setting():
    """The list is sorted, contains no type of Celery, and contains exactly named types even if unannounced."""
    announcements = Announcements("shop.refund", "shop.pay", "mail.send", "celery.group")

    def names(allowed: str | None = None) -> list[str]:
        catalog = Catalog(announcements.read, allowed=TaskNames.parse(allowed) if allowed else None)
        return [available.task_type.name for available in catalog.available_types()]

    assert names() == ["mail.send", "shop.pay", "shop.refund"]
    assert names("shop.*,old.task,celery.*,celery.group") == ["old.task", "shop.pay", "shop.refund"]


def test_workers_of_a_type_are_counted():
    """A worker consumes a type that it knows and whose queue it reads; unreadable announcements are skipped."""
    consumers = [
        consumer("shop.pay", "shop.refund"),
        consumer("shop.pay", queues=("pay", "mail")),
        consumer("shop.pay", queues=("mail",)),
        consumer("mail.send"),
        b"garbage",
        b"[" * 100_000,
        b"{}",
    ]
    catalog = Catalog(announced_in("pay", "shop.pay", "shop.refund", "idle").read, read_consumers=lambda: consumers)

    assert {available.task_type.name: available.workers for available in catalog.available_types()} == {
        "shop.pay": 2,
        "shop.refund": 1,
        "idle": 0,
    }
    assert catalog.available_type("shop.pay").workers == 2


def test_only_known_queues_may_be_named():
    """Queues of the settings and of live workers are valid; the workers are read again for an unknown queue only."""
    consumers, reads = [consumer(queues=("pay",))], []
    catalog = Catalog(
        Announcements().read, read_consumers=lambda: reads.append(1) or consumers, queues=["celery"], clock=Clock(0.0)
    )
    for _ in range(3):
        catalog.check_queue("celery")
    assert len(reads) == 0
    for _ in range(3):
        catalog.check_queue("pay")
    assert len(reads) == 1
    with pytest.raises(UnknownQueue):
        catalog.check_queue("mail")
    consumers.append(consumer(queues=("mail",)))
    catalog.check_queue("mail")
    assert len(reads) == 3


def test_consumers_are_cached_and_not_read_for_a_submission():
    """`find` does not read the consumers; descriptions read them once in `FRESH_SECONDS`."""
    clock, reads = Clock(0.0), []
    catalog = Catalog(
        announced_in("pay", "shop.pay").read,
        read_consumers=lambda: reads.append(1) or [consumer("shop.pay")],
        clock=clock,
    )
    catalog.find("shop.pay")
    assert reads == []

    for _ in range(10):
        assert catalog.available_type("shop.pay").workers == 1
        catalog.available_types()
    assert len(reads) == 1

    clock.now = FRESH_SECONDS
    catalog.available_types()
    assert len(reads) == 2


def test_unavailable_types_are_not_described():
    """A type that may not be submitted is not found."""
    catalog = Catalog(Announcements("shop.pay").read, allowed=TaskNames.parse("shop.pay"))
    for name in ("shop.refund", "celery.group", "", "a b"):
        with pytest.raises(TaskTypeNotFound):
            catalog.available_type(name)


def test_invalid_names_are_skipped():
    """An announcement with an invalid name is skipped."""
    announcements = Announcements("shop.pay", "a b", "x" * 257, "")
    assert [available.task_type.name for available in Catalog(announcements.read).available_types()] == ["shop.pay"]
