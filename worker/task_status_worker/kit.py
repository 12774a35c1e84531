"""The kit of each Celery app: what `install` made for it, found again by whoever sees one of its tasks."""

import weakref
from typing import Any

import msgspec

from task_status_worker.recorder import Recorder


class Kit(msgspec.Struct, frozen=True, eq=False):
    """Hold what the kit knows of one Celery app."""

    recorder: Recorder


#: weak, so that an app that is thrown away takes its kit along
_KITS: weakref.WeakKeyDictionary[Any, Kit] = weakref.WeakKeyDictionary()


def remember(app: Any, kit: Kit) -> None:
    """Make a kit the one of an app."""
    _KITS[app] = kit


def kit_of(app: Any) -> Kit | None:
    """Find the kit of an app; None where it is not installed, so that two apps in one process keep apart."""
    return _KITS.get(app)


def all_kits() -> list[Kit]:
    """List the kits of this process."""
    return list(_KITS.values())
