"""Can this service serve? Which of the parts it needs answer, and whether the store keeps what it is told."""

import enum
from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from task_status_service.errors import Fault, StoreVolatile, Unavailable

_REFUSED: Final = "`TASK_STATUS_VOLATILE_STORE=refuse` does not allow that; `warn` and `accept` would."


class VolatileStore(enum.StrEnum):
    """Say what to do about a store that may lose tasks."""

    #: say so at the start and in `/readyz`
    WARN = "warn"
    #: do not start, and do not be ready
    REFUSE = "refuse"
    #: say nothing
    ACCEPT = "accept"


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """Say how the store is; it answers."""

    #: how long ago a worker was last seen; None if none was within a day
    worker_seen_seconds: float | None
    #: names the time since which it has kept its data; None if it may not be asked
    epoch: str | None
    #: how it may lose what it was told, each with its remedy
    weaknesses: list[str] = []
    #: what else an operator should know, such as that it has lost its data
    warnings: list[str] = []


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Say which parts answer; each is None when it does, else what is wrong with it."""

    #: Redis, where records and results are
    store: str | None = None
    broker: str | None = None
    #: without one that was seen there is nothing that may be submitted, and nobody to run it
    worker: str | None = None
    #: names the time since which the store has kept its data, if that is known
    store_epoch: str | None = None
    #: what an operator should know, though the service works
    warnings: Sequence[str] = ()

    @property
    def faults(self) -> list[Fault]:
        """List what is wrong."""
        parts = {"store": self.store, "broker": self.broker, "worker": self.worker}
        return [Fault(f"{name}: {wrong}") for name, wrong in parts.items() if wrong]


class ReportingStore(Protocol):
    """What is asked of a store. Raises `StoreUnavailable`."""

    def report(self) -> StoreReport:
        """Find out how the store is."""
        ...


class CheckedBroker(Protocol):
    """What is asked of a broker. Raises `BrokerUnavailable`."""

    def check(self) -> None:
        """Find out whether the broker answers."""
        ...


class Readiness:
    """Find out how the parts are, each time it is asked."""

    def __init__(self, store: ReportingStore, broker: CheckedBroker, *, volatile_store: VolatileStore) -> None:
        """Take the parts, and what to do about a store that may lose tasks."""
        self._store = store
        self._broker = broker
        self._volatile_store = volatile_store

    def health(self) -> Health:
        """Find out which parts answer; never raises for one that does not."""
        store = broker = worker = epoch = None
        warnings: Sequence[str] = ()
        try:
            report = self._store.report()
            store, epoch, warnings = self._refusal(report), report.epoch, self._warnings(report)
            if report.worker_seen_seconds is None:
                worker = "none was ever seen"
        except Unavailable as error:
            store, worker = str(error), "not known without the store"
        try:
            self._broker.check()
        except Unavailable:
            broker = "does not answer"
        return Health(store=store, broker=broker, worker=worker, store_epoch=epoch, warnings=warnings)

    def check_store(self) -> Sequence[str]:
        """Give what an operator should know of the store when the service starts.

        Raises:
            StoreVolatile: it may lose tasks, and the settings do not allow that.
            StoreUnavailable: it cannot be known now; `health` finds out again each time.
        """
        report = self._store.report()
        if refusal := self._refusal(report):
            raise StoreVolatile(refusal)
        return self._warnings(report)

    def _refusal(self, report: StoreReport) -> str | None:
        refuses = self._volatile_store is VolatileStore.REFUSE and report.weaknesses
        return " ".join([*report.weaknesses, _REFUSED]) if refuses else None

    def _warnings(self, report: StoreReport) -> Sequence[str]:
        accepts = self._volatile_store is VolatileStore.ACCEPT
        return report.warnings if accepts else [*report.weaknesses, *report.warnings]
