"""The master that Redis Sentinels name, watched so that a failover is noticed before writes are lost.

redis-py asks Sentinel only when it connects. In a planned failover the old master stays a master for ten seconds more
(sentinel.c, SENTINEL_PUBLISH_PERIOD * 4), and loses everything that it accepts in that time.
Rule 1: a thread for each Sentinel reads its view of the master: once a second, and at each event of a failover.
Rule 2: of several views, the one with the highest configuration epoch is right: the others learn it up to 2 s later.
Rule 3: between the start of a failover and the promotion, no address is returned: no connection can be taken from a
        pool, so that a writer retries later instead of writing to a server that is about to be replaced.
Rule 4: Sentinels that do not answer change nothing: the master that they named last remains in use.
"""

import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.retry import Retry

logger = logging.getLogger(__name__)

Address = tuple[str, int]

#: seconds between two reads of a Sentinel's view, without an event; and during a failover
READ_SECONDS: Final = 1.0
_FAILOVER_READ_SECONDS: Final = 0.1
#: the start of a failover, the promotion, its end, and its failures
#: (https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/, "Pub/Sub messages")
_EVENTS: Final = (
    "+try-failover",
    "+failover-state-reconf-slaves",
    "+switch-master",
    "-failover-abort-no-good-slave",
    "-failover-abort-not-elected",
    "-failover-abort-slave-timeout",
)
_FAILOVER_FLAG: Final = "failover_in_progress"


class MasterUnknown(redis.ConnectionError):
    """No Sentinel names a master, or a failover is in progress."""


class View(msgspec.Struct, frozen=True):
    """A master, as one Sentinel knows it."""

    #: configuration epoch: each failover increases it
    epoch: int
    address: Address
    #: a failover has begun, and no replica is promoted yet
    is_failing_over: bool = False
    #: the Sentinel answered the last read
    is_live: bool = True


class Master:
    """The address of one master. Thread-safe; its threads start with the first use, and end with the object."""

    def __init__(self, nodes: Sequence[Address], name: str, *, timeout_seconds: float) -> None:
        self.name = name
        self._nodes = tuple(nodes)
        self._timeout_seconds = timeout_seconds
        #: the address that connections must have; None until a Sentinel has named one
        self.current: Address | None = None
        self._is_failing_over = False
        #: guards the fields above and below
        self._changed = threading.Condition()
        self._views: dict[Address, View] = {}
        #: nodes whose first read has ended
        self._asked: set[Address] = set()
        #: the process in which the threads run; a fork does not copy them
        self._process_id = 0

    def address(self) -> Address:
        """Return the address of the master for a new connection, or for another use of an open one.

        Raises:
            MasterUnknown: no Sentinel has named a master within the timeout, or a failover is in progress.
        """
        if self._process_id != os.getpid():
            self._start()
        if self.current is None:
            with self._changed:
                self._changed.wait_for(self._is_decided, timeout=2 * self._timeout_seconds)
        if self.current is None:
            raise MasterUnknown(f"No Sentinel names a master {self.name!r}")
        if self._is_failing_over:
            raise MasterUnknown(f"A failover of the master {self.name!r} is in progress")
        return self.current

    def _is_decided(self) -> bool:
        return self.current is not None or len(self._asked) == len(self._nodes)

    def _start(self) -> None:
        with _STARTING:
            if self._process_id == os.getpid():
                return
            # In a forked process, a thread of the parent may have held the lock.
            self._changed, self._views, self._asked = threading.Condition(), {}, set()
            self._process_id = os.getpid()
        for node in self._nodes:
            threading.Thread(
                target=_watch,
                args=(weakref.ref(self), node, self.name, self._timeout_seconds),
                name="redis sentinel",
                daemon=True,
            ).start()

    def receive(self, node: Address, view: View | None) -> float:
        """Process the view of a Sentinel, None if it did not answer; return seconds until the next read."""
        with self._changed:
            self._asked.add(node)
            if view is not None:
                self._views[node] = view
            elif node in self._views:
                self._views[node] = msgspec.structs.replace(self._views[node], is_failing_over=False, is_live=False)
            self._decide()
            self._changed.notify_all()
            return _FAILOVER_READ_SECONDS if self._is_failing_over else READ_SECONDS

    def _decide(self) -> None:
        if not self._views:
            return
        best = max(self._views.values(), key=lambda view: (view.is_live, view.epoch))
        before, self.current = self.current, best.address
        self._is_failing_over = any(
            view.is_failing_over and view.address == best.address for view in self._views.values()
        )
        if before is not None and before != best.address:
            logger.warning(
                "Redis has failed over: the master of %r is %s:%d, and no longer %s:%d",
                *(self.name, *best.address, *before),
            )


def _watch(master: "weakref.ref[Master]", node: Address, name: str, timeout_seconds: float) -> None:
    """Pass on the view of one Sentinel until the master is not used any more."""
    while True:
        client: Any = redis.Redis(
            *node,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            # redis-py would repeat a command for a minute, and this loop repeats it anyway.
            retry=Retry(NoBackoff(), 0),
            decode_responses=True,
        )
        with contextlib.suppress(redis.RedisError, OSError, ValueError), client, client.pubsub() as events:
            # Before the first read, so that no change is missed between the two.
            events.subscribe(*_EVENTS)
            while (seconds := _pass_on(master, node, _read_view(client, name))) is not None:
                events.get_message(ignore_subscribe_messages=True, timeout=seconds)
            return
        if (seconds := _pass_on(master, node, None)) is None:
            return
        time.sleep(seconds)


def _pass_on(master: "weakref.ref[Master]", node: Address, view: View | None) -> float | None:
    """Pass on a view, and return seconds until the next read; None if the master is not used any more."""
    # No reference stays in the thread while it waits: it would keep the object alive.
    found = master()
    return found.receive(node, view) if found is not None else None


def _read_view(client: Any, name: str) -> View:
    """Read the master's state and address, which are those of the promoted replica from its promotion on."""
    pipeline = client.pipeline(transaction=False)
    pipeline.execute_command("SENTINEL MASTER", name)
    pipeline.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", name, return_responses=True)
    state: Mapping[str, Any]
    state, (host, port) = pipeline.execute()
    is_promoted = (host, int(port)) != (state["ip"], int(state["port"]))
    return View(
        epoch=int(state["config-epoch"]),
        address=(host, int(port)),
        is_failing_over=_FAILOVER_FLAG in state["flags"] and not is_promoted,
    )


#: the masters of this process: clients of the same Sentinels share their threads
_MASTERS: "weakref.WeakValueDictionary[tuple[Any, ...], Master]" = weakref.WeakValueDictionary()
_STARTING: Final = threading.Lock()


def master_of(nodes: Sequence[Address], name: str, *, timeout_seconds: float) -> Master:
    """Return the master of a name; all calls share it, with the timeout of the first."""
    key = (tuple(nodes), name)
    with _STARTING:
        master = _MASTERS.get(key)
        if master is None:
            master = _MASTERS[key] = Master(nodes, name, timeout_seconds=timeout_seconds)
        return master


class MasterConnection(Connection):
    """A connection of redis-py to the master that Sentinels name at present; a pool calls `connect` at each use."""

    def __init__(self, *, master: Master, **options: Any) -> None:
        self._master = master
        super().__init__(**options)  # type: ignore[no-untyped-call]  # redis-py

    @property
    def is_outdated(self) -> bool:
        """Whether Sentinels name another master."""
        return self._master.current != (self.host, self.port)

    def connect(self) -> None:
        """Connect; an open connection to another server is closed first.

        Raises:
            MasterUnknown: no Sentinel names a master, or a failover is in progress.
        """
        address = self._master.address()
        if self._sock is not None and (self.host, self.port) != address:
            self.disconnect()
        super().connect()  # type: ignore[no-untyped-call]  # redis-py

    def connect_check_health(self, check_health: bool = True, retry_socket_connect: bool = True) -> None:
        """Connect to the master of this moment; redis-py calls it also to repeat a command."""
        if self._sock is None:
            self.host, self.port = self._master.address()
        super().connect_check_health(check_health, retry_socket_connect)
