"""Readiness: whether the parts that the service needs answer, and whether the store keeps its data."""

import enum
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from task_status_service.errors import Fault, StoreVolatile, Unavailable

#: time for which all requests share the result of one check
CHECK_SECONDS: Final = 1.0

_REFUSED: Final = "`TASK_STATUS_VOLATILE_STORE=refuse` forbids that: correct Redis, or set `warn` or `accept`."


class VolatileStore(enum.StrEnum):
    """How the service treats a store that may lose tasks."""

    #: log a warning at the start, and list it in `/readyz`
    WARN = "warn"
    #: do not start, and report not ready
    REFUSE = "refuse"
    #: ignore it
    ACCEPT = "accept"


class StoreReport(msgspec.Struct, frozen=True, kw_only=True):
    """Health report of a store that answers."""

    #: seconds since the last heartbeat of any worker; None if no worker has sent one within a day
    worker_seen_seconds: float | None
    #: identifies the data of the store; None if it cannot be read
    epoch: str | None
    #: ways in which the store may lose data, each with its remedy
    durability_warnings: list[str] = []
    #: other warnings, such as a loss of data
    warnings: list[str] = []


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The parts and their faults; None means that a part works."""

    #: Redis, with records and results; for operators
    store: str | None = None
    #: the same without addresses and names, for other callers
    public_store: str | None = None
    broker: str | None = None
    #: without any worker, no task type is announced and no task can be submitted
    worker: str | None = None
    #: identifies the data of the store; None if unknown
    store_epoch: str | None = None
    #: warnings for an operator, although the service works
    warnings: Sequence[str] = ()

    def faults(self, *, is_operator: bool) -> list[Fault]:
        """Return the faults of all parts."""
        store = self.store if is_operator else self.public_store
        parts = {"store": store, "broker": self.broker, "worker": self.worker}
        return [Fault(f"{name}: {wrong}") for name, wrong in parts.items() if wrong]


class ReportingStore(Protocol):
    """A store that reports its health. Raises `StoreUnavailable`."""

    def report(self) -> StoreReport:
        """Return the health of the store."""
        ...


class CheckedBroker(Protocol):
    """A broker that can be checked. Raises `BrokerUnavailable`."""

    def check(self) -> None:
        """Check that the broker answers."""
        ...


class Readiness:
    """The last check of the parts of the service, repeated once a second if it is requested."""

    def __init__(
        self,
        store: ReportingStore,
        broker: CheckedBroker,
        *,
        volatile_store: VolatileStore,
        check_seconds: float = CHECK_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._broker = broker
        self._volatile_store = volatile_store
        self._check_seconds = check_seconds
        self._clock = clock
        self._checking = threading.Lock()
        self._checked = Health()
        self._checked_at = -math.inf

    def health(self) -> Health:
        """Return the health of all parts, from a check of at most `check_seconds` ago.

        Concurrent calls wait for one check: requests without a key must not cost a round trip each.
        """
        if not self._is_current():
            with self._checking:
                if not self._is_current():
                    self._checked = self._check()
                    self._checked_at = self._clock()
        return self._checked

    def _is_current(self) -> bool:
        return self._clock() - self._checked_at < self._check_seconds

    def _check(self) -> Health:
        """Check all parts; an unavailable part is reported, not raised."""
        store = public_store = broker = worker = epoch = None
        warnings: Sequence[str] = ()
        try:
            report = self._store.report()
            store = public_store = self._denial(report)
            epoch, warnings = report.epoch, self._warnings(report)
            if report.worker_seen_seconds is None:
                worker = "no worker has sent a heartbeat: start one"
        except Unavailable as error:
            store, public_store = error.cause, str(error)
            worker = "unknown, because the store cannot be read"
        try:
            self._broker.check()
        except Unavailable:
            broker = "does not answer"
        return Health(
            store=store,
            public_store=public_store,
            broker=broker,
            worker=worker,
            store_epoch=epoch,
            warnings=warnings,
        )

    def check_store(self) -> Sequence[str]:
        """Return the warnings about the store for the start of the service.

        Raises:
            StoreVolatile: the store may lose tasks, and the settings forbid that.
            StoreUnavailable: the store does not answer; `health` checks it again on each call.
        """
        report = self._store.report()
        if denial := self._denial(report):
            raise StoreVolatile(denial)
        return self._warnings(report)

    def _denial(self, report: StoreReport) -> str | None:
        is_denied = self._volatile_store is VolatileStore.REFUSE and report.durability_warnings
        return " ".join([*report.durability_warnings, _REFUSED]) if is_denied else None

    def _warnings(self, report: StoreReport) -> Sequence[str]:
        accepts = self._volatile_store is VolatileStore.ACCEPT
        return report.warnings if accepts else [*report.durability_warnings, *report.warnings]
