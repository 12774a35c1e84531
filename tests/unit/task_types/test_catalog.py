"""The catalog: available task types, and the caching of announcements."""

import functools
import json
from typing import Any

import pytest
from support.clock import Clock
from support.reserved_queues import RESERVED
from task_status_service.errors import NotReady, TaskTypeNotFound, UnknownQueue, UnknownTaskType
from task_status_service.task_types.catalog import (
    FRESH_SECONDS,
    KEPT_SECONDS,
    MAX_CACHED,
    UNKNOWN_SECONDS,
    Announcements,
    AvailableTaskTypes,
    Catalog,
    TaskNames,
)
from task_status_worker.record.announcement import MAX_SCHEMA_LEVELS, MAX_TASK_TYPE_BYTES
from task_status_worker.record.keys import SEEN_SECONDS

NOW = 1_000_000.0


class Store:
    """Stored announcements, which may change, and the names of all reads."""

    def __init__(self, *names: str, queue: str | None = None) -> None:
        self.stored = {name: packed(name, queue=queue) for name in names}
        self.entries: list[bytes] | None = []
        self.now = NOW
        self.reads: list[str] = []
        self.is_complete = True

    def announcement(self, name):
        self.reads.append(name)
        return self.now, self.stored.get(name)

    def announcements(self):
        self.reads.append("*")
        return Announcements(self.now, list(self.stored.values()), self.is_complete)

    def consumers(self):
        self.reads.append("consumers")
        return self.entries


def packed(name: str, **fields: Any) -> bytes:
    """Return an announcement as JSON."""
    return json.dumps({"name": name, "announced_at": NOW} | fields).encode()


def consumer(*names: str, queues: tuple[str, ...] = ("pay",)) -> bytes:
    """Return the announcement of one live worker instance."""
    return json.dumps({"task_types": names, "queues": queues, "announced_at": NOW}).encode()


def names_of(available: AvailableTaskTypes) -> list[str]:
    """Return the names in a list."""
    return [one.task_type.name for one in available.items]


def test_announced_types_are_found():
    """An announced name is found; any other is rejected."""
    catalog = Catalog(Store("shop.pay"))

    assert catalog.find("shop.pay").name == "shop.pay"
    for name in ("shop.refund", "Shop.pay", "shop.pay ", "", "celery.backend_cleanup"):
        with pytest.raises(UnknownTaskType):
            catalog.find(name)


def test_announcements_are_cached():
    """A name is read alone, and again after `FRESH_SECONDS`; other names are read for a list only."""
    store, clock = Store("shop.pay", "shop.refund"), Clock(0.0)
    catalog = Catalog(store, clock=clock)

    for _ in range(10):
        catalog.find("shop.pay")
    assert store.reads == ["shop.pay"]

    clock.now = FRESH_SECONDS
    catalog.find("shop.pay")
    assert store.reads == ["shop.pay"] * 2


def test_a_service_without_announcements_is_not_ready():
    """Before the first announcement a name may be right, so the error is temporary."""
    store, clock = Store(), Clock(0.0)
    catalog = Catalog(store, clock=clock)
    with pytest.raises(NotReady, match="announced"):
        catalog.find("shop.pay")
    with pytest.raises(TaskTypeNotFound):
        catalog.available_type("shop.pay")

    store.stored["shop.refund"] = packed("shop.refund")
    clock.now = FRESH_SECONDS
    with pytest.raises(UnknownTaskType, match="Did you mean"):
        catalog.find("shop.refun")


def test_unknown_names_are_cached_shortly():
    """An unknown name is read once in `UNKNOWN_SECONDS`, so a new announcement is found after that time."""
    store, clock = Store("shop.refund"), Clock(0.0)
    catalog = Catalog(store, clock=clock)
    for _ in range(10):
        with pytest.raises(UnknownTaskType):
            catalog.find("shop.pay")
    assert store.reads.count("shop.pay") == 1

    store.stored = Store("shop.pay").stored
    clock.now = UNKNOWN_SECONDS
    assert catalog.find("shop.pay").name == "shop.pay"


@pytest.mark.parametrize("damaged", [None, b"{", packed("shop.refund")])
def test_a_damaged_announcement_is_used_for_minutes(damaged):
    """A type stays known if its announcement is deleted or overwritten, until its worker should have announced it."""
    store, clock = Store("shop.pay"), Clock(0.0)
    catalog = Catalog(store, clock=clock)
    assert names_of(catalog.available_types()) == ["shop.pay"]
    assert catalog.find("shop.pay").name == "shop.pay"

    store.stored = {} if damaged is None else {"shop.pay": damaged}
    for clock.now in (FRESH_SECONDS, KEPT_SECONDS - 2 * UNKNOWN_SECONDS):
        assert catalog.find("shop.pay").name == "shop.pay"
        if damaged is None:
            assert names_of(catalog.available_types()) == ["shop.pay"]
    assert store.reads.count("shop.pay") == 3, "read again soon"
    clock.now = KEPT_SECONDS + FRESH_SECONDS
    assert damaged or names_of(catalog.available_types()) == []
    with pytest.raises((NotReady, UnknownTaskType)):
        catalog.find("shop.pay")


def test_damaged_keys_of_workers_are_ignored_for_minutes():
    """The last read consumers are used while a key is missing or has another type; stopped workers are not."""
    store, clock = Store("shop.pay", queue="pay"), Clock(0.0)
    catalog = Catalog(store, clock=clock)
    store.entries = [consumer("shop.pay", queues=("pay", "other"))]
    catalog.check_queue("other")

    store.entries = None
    clock.now = KEPT_SECONDS - 1
    catalog.check_queue("other")
    assert [one.workers for one in catalog.available_types().items] == [1]
    clock.now = KEPT_SECONDS + FRESH_SECONDS
    assert [one.workers for one in catalog.available_types().items] == [0]
    with pytest.raises(UnknownQueue):
        catalog.check_queue("other")

    store.entries = [consumer("shop.pay", queues=("pay", "other"))]
    clock.now += FRESH_SECONDS
    catalog.check_queue("other")
    store.entries = []
    clock.now += FRESH_SECONDS
    assert [one.workers for one in catalog.available_types().items] == [0]


def test_the_cached_names_are_limited():
    """Unknown names of clients do not fill the memory."""
    store = Store("shop.refund")
    catalog = Catalog(store, clock=Clock(0.0))
    for number in range(MAX_CACHED + 1):
        with pytest.raises(UnknownTaskType):
            catalog.find(f"name-{number}")
    del store.reads[:]
    for number in (MAX_CACHED, 0):
        with pytest.raises(UnknownTaskType):
            catalog.find(f"name-{number}")
    assert store.reads == ["name-0"], "the oldest was discarded"


def test_an_announcement_under_another_name_is_ignored():
    """The name in an announcement must be the name under which it is stored."""
    store = Store()
    store.stored["shop.pay"] = packed("shop.refund")
    with pytest.raises(UnknownTaskType):
        Catalog(store).find("shop.pay")


def test_celerys_own_tasks_are_rejected():
    """Celery's own tasks are rejected without a read, even if they are announced or allowed."""
    store = Store("celery.group")
    for catalog in (
        Catalog(store),
        Catalog(store, allowed=TaskNames.parse("celery.group,celery.*")),
    ):
        with pytest.raises(UnknownTaskType):
            catalog.find("celery.group")
    assert store.reads == []


def test_the_setting_determines_the_names():
    """The setting allows exactly its names, announced or not; an unannounced type accepts any arguments."""
    catalog = Catalog(Store("shop.pay", "shop.refund"), allowed=TaskNames.parse("shop.pay,old.*"))

    assert catalog.find("shop.pay").name == "shop.pay"
    assert catalog.find("old.task").var_positional
    with pytest.raises(UnknownTaskType, match="settings"):
        catalog.find("shop.refund")


def test_an_old_announcement_is_ignored():
    """A type that no worker has announced for a day may not be submitted."""
    store = Store("shop.pay")
    store.now = NOW + SEEN_SECONDS
    catalog = Catalog(store)
    assert catalog.available_types().items == []
    with pytest.raises(NotReady):
        catalog.find("shop.pay")


@pytest.mark.parametrize("stored", [b"", b"{", b"\xff", b"[]", b'{"name": 3}', b"[" * 100_000, b'{"doc": "no name"}'])
def test_unreadable_announcements_are_skipped(stored):
    """An unreadable announcement does not affect the others."""
    store = Store("shop.pay")
    store.stored["garbage"] = stored

    assert names_of(Catalog(store).available_types()) == ["shop.pay"]
    with pytest.raises(UnknownTaskType):
        Catalog(store).find("garbage")


def test_available_types_follow_the_setting():
    """The list is sorted, contains no type of Celery, and contains exactly named types even if unannounced."""
    store = Store("shop.refund", "shop.pay", "mail.send", "celery.group")

    def names(allowed: str | None = None) -> list[str]:
        return names_of(Catalog(store, allowed=TaskNames.parse(allowed) if allowed else None).available_types())

    assert names() == ["mail.send", "shop.pay", "shop.refund"]
    assert names("shop.*,old.task,celery.*,celery.group") == ["old.task", "shop.pay", "shop.refund"]


def test_a_type_that_is_not_listed_is_found():
    """If a store has more announcements than it returns, the list is incomplete, and other types are found by name."""
    store = Store("shop.pay")
    store.is_complete = False
    catalog = Catalog(store, allowed=TaskNames.parse("shop.pay,shop.refund"))
    store.announcements = lambda: Announcements(NOW, [store.stored["shop.pay"]], is_complete=False)
    store.stored["shop.refund"] = packed("shop.refund", doc="Refund.")

    available = catalog.available_types()
    assert not available.is_complete
    assert [one.task_type.doc for one in available.items] == [None, "Refund."]
    assert catalog.available_type("shop.refund").task_type.doc == "Refund."


def test_workers_of_a_type_are_counted():
    """A worker consumes a type that it knows and whose queue it reads; unreadable announcements are skipped."""
    store = Store("shop.pay", "shop.refund", "idle", queue="pay")
    store.entries = [
        consumer("shop.pay", "shop.refund"),
        consumer("shop.pay", "shop.pay", queues=("pay", "mail")),
        consumer("shop.pay", queues=("mail",)),
        consumer("mail.send"),
        b"garbage",
        b"[" * 100_000,
        b"{}",
    ]
    catalog = Catalog(store)

    assert {available.task_type.name: available.workers for available in catalog.available_types().items} == {
        "shop.pay": 2,
        "shop.refund": 1,
        "idle": 0,
    }
    assert catalog.available_type("shop.pay").workers == 2


def test_only_known_queues_may_be_named():
    """Queues of settings and live workers are valid; an unknown one is looked up once in `UNKNOWN_SECONDS`."""
    store, clock = Store(), Clock(0.0)
    store.entries = [consumer(queues=("pay",))]
    catalog = Catalog(store, queues=["celery"], clock=clock)
    for _ in range(3):
        catalog.check_queue("celery")
    assert len(store.reads) == 0
    for _ in range(3):
        catalog.check_queue("pay")
    for _ in range(3):
        with pytest.raises(UnknownQueue):
            catalog.check_queue("mail")
    assert len(store.reads) == 1
    store.entries.append(consumer(queues=("mail",)))
    clock.now = UNKNOWN_SECONDS
    catalog.check_queue("mail")
    assert len(store.reads) == 2


@pytest.mark.parametrize("queue", [*RESERVED, "", "a b", "x" * 129, "é", "-a", "a\n"])
def test_a_consumed_queue_that_names_another_key_is_rejected(queue):
    """A client may not name a key of task-status, Celery or kombu, even if a worker announces to consume it."""
    store = Store()
    store.entries = [consumer(queues=(queue, "pay"))]
    catalog = Catalog(store)
    catalog.check_queue("pay")
    with pytest.raises(UnknownQueue):
        catalog.check_queue(queue)


@pytest.mark.parametrize("queue", [*RESERVED, "x" * 257])
def test_a_type_with_a_reserved_queue_has_none(queue):
    """A task type whose announced queue is the name of another key is sent to the default queue of the service."""
    assert Catalog(Store("shop.pay", queue=queue)).find("shop.pay").queue is None
    assert Catalog(Store("shop.pay", queue="my queue")).find("shop.pay").queue == "my queue"


LARGE: dict[str, dict[str, Any]] = {
    "schema": {"arguments": {"enum": ["x" * 70_000]}},
    "levels": {
        "arguments": functools.reduce(lambda inner, _: {"not": inner}, range(MAX_SCHEMA_LEVELS), {"type": "null"})
    },
    "lists": {"arguments": {"enum": functools.reduce(lambda inner, _: [inner, "]"], range(MAX_SCHEMA_LEVELS), [])}},
    "schema of *args": {"var_positional": {"enum": ["x" * 70_000]}},
    "parameters": {"positional": [str(number) for number in range(300)]},
}


@pytest.mark.parametrize("case", LARGE)
def test_large_parts_of_an_announcement_are_omitted(case):
    """A task type with a schema above a limit accepts any arguments."""
    fields = {"arguments": {"type": "object"}, "positional": ["a"], "positional_only": 1, "var_positional": False}
    store = Store()
    store.stored["shop.pay"] = packed("shop.pay", doc="Pay.", **fields | LARGE[case])
    found = Catalog(store).find("shop.pay")
    assert (bytes(found.arguments), bytes(found.var_positional), found.positional) == (b"true", b"true", [])
    assert (found.positional_only, found.doc) == (0, "Pay.")


def test_a_schema_within_the_limits_is_kept():
    """A schema with many brackets, also in texts, is not deep."""
    arguments = {"enum": ["[" * 100, '\\"[[', "{" * 100, *([{}, []] * 100)]}
    arguments = functools.reduce(lambda inner, _: {"not": inner}, range(MAX_SCHEMA_LEVELS - 3), arguments)
    store = Store()
    store.stored["shop.pay"] = packed("shop.pay", arguments=arguments)
    assert json.loads(bytes(Catalog(store).find("shop.pay").arguments)) == arguments


def test_too_large_announcements_are_skipped():
    """An announcement above its limit is unknown, as the store does not return it either."""
    store = Store()
    store.stored["shop.pay"] = packed("shop.pay", doc="x" * MAX_TASK_TYPE_BYTES)
    with pytest.raises(NotReady):
        Catalog(store).find("shop.pay")


def test_consumers_are_cached_and_not_read_for_a_submission():
    """`find` does not read the consumers; descriptions read them once in `FRESH_SECONDS`."""
    store, clock = Store("shop.pay", queue="pay"), Clock(0.0)
    store.entries = [consumer("shop.pay")]
    catalog = Catalog(store, clock=clock)
    catalog.find("shop.pay")
    assert "consumers" not in store.reads

    for _ in range(10):
        assert catalog.available_type("shop.pay").workers == 1
        catalog.available_types()
    assert store.reads.count("consumers") == 1

    clock.now = FRESH_SECONDS
    catalog.available_types()
    assert store.reads.count("consumers") == 2


def test_unavailable_types_are_not_described():
    """A type that may not be submitted is not found."""
    catalog = Catalog(Store("shop.pay"), allowed=TaskNames.parse("shop.pay"))
    for name in ("shop.refund", "celery.group", "", "a b"):
        with pytest.raises(TaskTypeNotFound):
            catalog.available_type(name)


def test_invalid_names_are_skipped():
    """An announcement with an invalid name is skipped."""
    assert names_of(Catalog(Store("shop.pay", "a b", "x" * 257, "")).available_types()) == ["shop.pay"]
