"""The kit of each Celery app: what `install` made for it, found again by whoever sees one of its tasks."""

import secrets
import weakref
from typing import Any, Final

import msgspec

from task_status_worker.recorder import Recorder

#: Celery's own chores; everything else that has an id may be asked for
_UNRECORDED: Final = frozenset({"celery.backend_cleanup", "celery.chord_unlock"})


class Kit(msgspec.Struct, eq=False):
    """Hold what the kit knows of one Celery app."""

    recorder: Recorder
    #: how often an attempt may be started before one that is delivered again is refused; 0: any number
    delivery_limit: int = 0
    #: the worker instance that this process belongs to; None where no worker runs
    instance: str | None = None

    def begin_instance(self, hostname: str) -> None:
        """Name the worker instance that starts in this process; the processes that it forks take the name along."""
        self.instance = f"{hostname}/{secrets.token_hex(4)}"


#: weak, so that an app that is thrown away takes its kit along
_KITS: weakref.WeakKeyDictionary[Any, Kit] = weakref.WeakKeyDictionary()


def remember(app: Any, kit: Kit) -> None:
    """Make a kit the one of an app."""
    _KITS[app] = kit


def kit_of(app: Any) -> Kit | None:
    """Find the kit of an app; None where it is not installed, so that two apps in one process keep apart."""
    return _KITS.get(app)


def kit_that_records(app: Any, task_name: str | None) -> Kit | None:
    """Find the kit of an app if it keeps records of tasks of this name."""
    return None if task_name in _UNRECORDED else kit_of(app)


def all_kits() -> list[Kit]:
    """List the kits of this process."""
    return list(_KITS.values())
