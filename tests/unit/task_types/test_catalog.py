"""The catalog: what may be submitted, and how often the announcements are read."""

import json

import pytest
from support.clock import Clock
from task_status_service.errors import TaskTypeNotFound, UnknownTaskType
from task_status_service.task_types.catalog import FRESH_SECONDS, Catalog, TaskNames
from task_status_worker.record.keys import SEEN_SECONDS

NOW = 1_000_000.0


class Announcements:
    """Announcements that may change, and a count of how often they were read."""

    def __init__(self, *names: str) -> None:
        self.stored = {name.encode(): json.dumps({"name": name, "announced_at": NOW}).encode() for name in names}
        self.reads = 0

    def read(self):
        self.reads += 1
        return NOW, self.stored


def test_finds_what_is_announced():
    """An announced name is found, any other is refused."""
    catalog = Catalog(Announcements("shop.pay").read)

    assert catalog.find("shop.pay").name == "shop.pay"
    for name in ("shop.refund", "Shop.pay", "shop.pay ", "", "celery.backend_cleanup"):
        with pytest.raises(UnknownTaskType):
            catalog.find(name)


def test_reads_seldom():
    """Announcements are read once for a while, and again when the while is over."""
    announcements, clock = Announcements("shop.pay"), Clock(0.0)
    catalog = Catalog(announcements.read, clock=clock)

    for _ in range(10):
        catalog.find("shop.pay")
    assert announcements.reads == 1

    clock.now = FRESH_SECONDS
    catalog.find("shop.pay")
    assert announcements.reads == 2


def test_finds_what_was_announced_a_moment_ago():
    """A name that is not known is looked for again before it is refused."""
    announcements = Announcements()
    catalog = Catalog(announcements.read)
    with pytest.raises(UnknownTaskType):
        catalog.find("shop.pay")

    announcements.stored = Announcements("shop.pay").stored

    assert catalog.find("shop.pay").name == "shop.pay"


def test_celerys_own_are_not_even_looked_up():
    """Celery's own tasks are refused whatever anybody announces or allows."""
    announcements = Announcements("celery.group")
    for catalog in (
        Catalog(announcements.read),
        Catalog(announcements.read, allowed=TaskNames.parse("celery.group,celery.*")),
    ):
        with pytest.raises(UnknownTaskType):
            catalog.find("celery.group")
    assert announcements.reads == 0


def test_setting_narrows_and_widens():
    """With the setting just its names count, announced or not; a type that no worker announces takes anything."""
    catalog = Catalog(Announcements("shop.pay", "shop.refund").read, allowed=TaskNames.parse("shop.pay,old.*"))

    assert catalog.find("shop.pay").name == "shop.pay"
    assert catalog.find("old.task").var_positional
    with pytest.raises(UnknownTaskType, match="settings"):
        catalog.find("shop.refund")


def test_an_old_announcement_does_not_count():
    """What no worker has announced for a day may not be submitted."""
    announcements = Announcements("shop.pay")
    catalog = Catalog(lambda: (NOW + SEEN_SECONDS, announcements.stored))

    with pytest.raises(UnknownTaskType):
        catalog.find("shop.pay")


@pytest.mark.parametrize("stored", [b"", b"{", b"\xff", b"[]", b'{"name": 3}', b"[" * 100_000, b'{"doc": "no name"}'])
def test_what_cannot_be_read_is_not_announced(stored):
    """Announcements are untrusted: garbage is passed over."""
    announcements = Announcements("shop.pay")
    announcements.stored[b"garbage"] = stored

    assert Catalog(announcements.read).find("shop.pay").name == "shop.pay"


def served(*names: str, queues: tuple[str, ...] = ("pay",)) -> bytes:
    """Give what one live worker instance says that it serves."""
    return json.dumps({"task_types": names, "queues": queues, "announced_at": NOW}).encode()


def announced_in(queue: str, *names: str) -> Announcements:
    """Give announcements of task types that go to one queue."""
    announcements = Announcements(*names)
    for name in names:
        announcements.stored[name.encode()] = json.dumps({"name": name, "queue": queue, "announced_at": NOW}).encode()
    return announcements


def test_offers_what_may_be_submitted():
    """By name, with the settings' rule: Celery's own never, what is allowed by name even if no worker announces it."""
    announcements = Announcements("shop.refund", "shop.pay", "mail.send", "celery.group")

    def names(allowed: str | None = None) -> list[str]:
        catalog = Catalog(announcements.read, allowed=TaskNames.parse(allowed) if allowed else None)
        return [offer.task_type.name for offer in catalog.offers()]

    assert names() == ["mail.send", "shop.pay", "shop.refund"]
    assert names("shop.*,old.task,celery.*,celery.group") == ["old.task", "shop.pay", "shop.refund"]


def test_counts_who_serves_a_type():
    """A worker serves a type that it knows and whose queue it reads; what cannot be read serves nothing."""
    serving = [
        served("shop.pay", "shop.refund"),
        served("shop.pay", queues=("pay", "mail")),
        served("shop.pay", queues=("mail",)),
        served("mail.send"),
        b"garbage",
        b"[" * 100_000,
        b"{}",
    ]
    catalog = Catalog(announced_in("pay", "shop.pay", "shop.refund", "idle").read, read_serving=lambda: serving)

    assert {offer.task_type.name: offer.workers for offer in catalog.offers()} == {
        "shop.pay": 2,
        "shop.refund": 1,
        "idle": 0,
    }
    assert catalog.offer("shop.pay").workers == 2


def test_who_serves_is_read_seldom_and_not_for_a_submission():
    """Finding a type does not ask; describing it does, once for a while."""
    clock, reads = Clock(0.0), []
    catalog = Catalog(
        announced_in("pay", "shop.pay").read, read_serving=lambda: reads.append(1) or [served("shop.pay")], clock=clock
    )
    catalog.find("shop.pay")
    assert reads == []

    for _ in range(10):
        assert catalog.offer("shop.pay").workers == 1
        catalog.offers()
    assert len(reads) == 1

    clock.now = FRESH_SECONDS
    catalog.offers()
    assert len(reads) == 2


def test_offers_nothing_else():
    """What may not be submitted is not described."""
    catalog = Catalog(Announcements("shop.pay").read, allowed=TaskNames.parse("shop.pay"))
    for name in ("shop.refund", "celery.group", "", "a b"):
        with pytest.raises(TaskTypeNotFound):
            catalog.offer(name)


def test_a_name_that_is_none_is_not_announced():
    """It could not be asked for."""
    announcements = Announcements("shop.pay", "a b", "x" * 257, "")
    assert [offer.task_type.name for offer in Catalog(announcements.read).offers()] == ["shop.pay"]
