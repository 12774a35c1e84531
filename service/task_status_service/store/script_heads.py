"""The first arguments of the scripts in lua/, as JSON; binary arguments follow."""

import msgspec
from task_status_worker.record.keys import KeyNames


class MarkFailedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of mark_failed.lua, as JSON; `seq`, instance and the arguments of note.lua follow."""

    #: seconds without a heartbeat
    lost_after_seconds: int
    #: digest of the first `meta_bytes` of the meta that was read
    meta_sha1: str
    meta_bytes: int


class ForgetHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of forget.lua, as JSON; `seq` of the record follows."""

    id: str
    names: KeyNames


class AnnouncementsHead(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of announcements.lua, as JSON; the name of one task type may follow."""

    #: limit of the entries that are returned, and of the bytes of each and of all
    limit: int
    entry_bytes: int
    total_bytes: int


class ConsumersHead(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of consumers.lua, as JSON."""

    #: seconds without a heartbeat after which an instance is not live
    stalled_after_seconds: int
    #: limit of the instances that are read, and of the bytes of each and of all
    limit: int
    entry_bytes: int
    total_bytes: int


class SweepHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of expire.lua and check_index.lua, as JSON."""

    names: KeyNames
    record_seconds: int
    known_seconds: int
    #: limit of the tasks that one script reads
    limit: int
