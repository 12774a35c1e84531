"""The kit of each Celery app, so that signals and tasks can find it by their app."""

import secrets
import weakref
from typing import Any, Final

import msgspec

from task_status_worker.recorder import Recorder

#: Celery's own periodic tasks, which are not recorded
_UNRECORDED: Final = frozenset({"celery.backend_cleanup", "celery.chord_unlock"})


class Kit(msgspec.Struct, eq=False):
    """The kit of one Celery app."""

    recorder: Recorder
    #: starts of one attempt after which a redelivered message is denied; 0 means unlimited
    delivery_limit: int = 0
    #: the worker instance of this process; None if no worker runs in it
    instance: str | None = None

    def begin_instance(self, hostname: str) -> None:
        """Name the worker instance that starts in this process; the processes it forks inherit the name."""
        self.instance = f"{hostname}/{secrets.token_hex(4)}"


#: weak, so that a kit is deleted with its app
_KITS: weakref.WeakKeyDictionary[Any, Kit] = weakref.WeakKeyDictionary()


def remember(app: Any, kit: Kit) -> None:
    """Register the kit of an app."""
    _KITS[app] = kit


def kit_of(app: Any) -> Kit | None:
    """Return the kit of an app; None if it is not installed in this app, even if it is in another one."""
    return _KITS.get(app)


def kit_that_records(app: Any, task_name: str | None) -> Kit | None:
    """Return the kit of an app if it records tasks of this name; None otherwise."""
    return None if task_name in _UNRECORDED else kit_of(app)


def all_kits() -> list[Kit]:
    """Return the kits of this process."""
    return list(_KITS.values())
