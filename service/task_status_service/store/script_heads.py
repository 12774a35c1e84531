"""The first arguments of the scripts in lua/ that records.py calls, as JSON; binary values follow them."""

import msgspec
from task_status_worker.record.keys import KeyNames


class SettleHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of settle.lua, as JSON; `seq` and instance of the record and note.lua's arguments follow."""

    #: seconds without a heartbeat
    silent_seconds: int
    #: digest of the meta that was read, of which at most `meta_bytes` were read
    meta_sha1: str
    meta_bytes: int


class ForgetHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first argument of forget.lua, as JSON; `seq` of the record follows."""

    id: str
    names: KeyNames


class ServingHead(msgspec.Struct, frozen=True, kw_only=True):
    """The argument of serving.lua, as JSON."""

    #: seconds without a heartbeat after which an instance is not live
    silent_seconds: int
    #: how many instances are read
    limit: int
