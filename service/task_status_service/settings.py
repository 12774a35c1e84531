"""Settings from environment variables, validated at the start; each error names the variable."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from task_status_worker.record.keys import SEEN_SECONDS, Retention

from task_status_service.access.client_address import TrustedProxies
from task_status_service.access.loopback import is_loopback
from task_status_service.errors import SettingInvalid
from task_status_service.status.model import LOST_SECONDS, FinalStates, TaskState
from task_status_service.task_types.catalog import TaskNames
from task_status_service.task_types.queue_names import is_queue_name, is_reserved
from task_status_service.use_cases.readiness import VolatileStore

PREFIX: Final = "TASK_STATUS_"

_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix", "sentinel"})
_BROKER_SCHEMES: Final = _REDIS_SCHEMES | {"amqp", "amqps"}
#: allowed outcomes of a custom final state
_OUTCOMES: Final = {state.value: state for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELED)}
_LAST_PORT: Final = 65_535
_BIND: Final = re.compile(r"unix:(?P<path>/.+)|(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>\d{1,5})")
#: an origin as browsers serialize it (RFC 6454 section 6.2)
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*+|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?")
#: variables of the client commands, which the service ignores: both may run in one shell
_OF_CLIENT: Final = frozenset({"URL", "API_KEY"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one service. The defaults suit a laptop with one local Redis."""

    #: the broker: Redis or RabbitMQ
    broker_url: str = "redis://127.0.0.1:6379/0"
    #: Celery's result backend
    result_url: str = "redis://127.0.0.1:6379/0"
    #: Redis of the records; reads are fastest if it is the same as `result_url`
    record_url: str = "redis://127.0.0.1:6379/0"
    #: name of the master, for `sentinel://` URLs
    sentinel_master: str = ""
    #: address and port of the API, or a socket: `unix:/path`
    bind: str = "127.0.0.1:8000"
    #: the API keys; None disables authentication, and every caller has all scopes
    api_keys_file: Path | None = None
    #: server processes
    workers: int = 1
    #: names of the task types that may be submitted; None means all that workers announce
    tasks: TaskNames | None = None
    #: queues that clients may name, besides `default_queue` and those that live workers consume
    queues: frozenset[str] = frozenset()
    #: custom Celery states that end a task, and the state that each maps to
    final_states: FinalStates = {}
    #: Celery's `result_backend_transport_options["global_keyprefix"]`
    global_keyprefix: str = ""
    #: queue of task types that no worker announces; Celery's `task_default_queue`
    default_queue: str = "celery"
    #: times for which records are stored
    retention: Retention = Retention()
    #: proxies whose X-Forwarded-For is believed
    trusted_proxies: TrustedProxies = TrustedProxies()
    #: limits of concurrent waits and event streams: of one process, and of one caller in all processes
    watches: int = 10_000
    watches_per_caller: int = 500
    #: limits per owner: the sustained rate of its requests, the number of queued tasks, and the bytes of Redis for
    #: records, arguments and messages; 0 means unlimited
    requests_per_second: int = 200
    queued_per_owner: int = 10_000
    stored_bytes_per_owner: int = 256 << 20
    #: seconds after the end of a task for which its arguments are stored for a retry, at most as long as its record
    arguments_seconds: int = 86_400
    #: seconds since the last heartbeat of its worker after which a task is marked as failed; None disables it
    lost_final_seconds: int | None = None
    #: seconds after which a task that no worker has received is sent again if its queue is empty; 0 disables it
    resend_seconds: int = 30
    #: reaction to a store that may lose tasks
    volatile_store: VolatileStore = VolatileStore.WARN
    #: limits of a request body: its size in bytes, and the seconds for receiving it
    max_body_bytes: int = 1_048_576
    body_seconds: int = 10
    #: seconds in which a client must read a response, a part of a large response, or an event
    send_seconds: int = 60
    #: whether callers with the scope `tracebacks` see tracebacks, worker names and paths
    tracebacks: bool = True
    #: origins whose pages may read responses: `https://app.example.com`
    cors_origins: frozenset[str] = frozenset()
    #: False sends plain reads of a task through Flask like all other requests, to test whether the fast read causes a
    #: problem (docs/decisions/0033-fast-read.md)
    fast_read: bool = True
    #: whether each request is logged: method, path, status and milliseconds
    access_log: bool = False

    @property
    def broker_holds_records(self) -> bool:
        """Return whether the broker and the records are in one server, in any of its databases."""
        return _server_of(self.broker_url) == _server_of(self.record_url)


def _server_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path


def from_env(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables; empty ones are ignored.

    Raises:
        SettingInvalid: A variable is unknown or its value is invalid; the error names it.
    """
    given = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX) and text}
    given = {name: text for name, text in given.items() if name not in _OF_CLIENT}
    if unknown := sorted(given.keys() - VARIABLES.keys()):
        raise SettingInvalid(f"{PREFIX}{unknown[0]} is not a setting. Use one of: {', '.join(sorted(VARIABLES))}.")
    values: dict[str, object] = {}
    retention: dict[str, int] = {}
    for name, text in given.items():
        field, read = VARIABLES[name]
        try:
            value = read(text)
        except ValueError as error:
            raise SettingInvalid(f"{PREFIX}{name}={_shown(name, text)} is invalid: {error}") from error
        if name == "REDIS_URL":
            values = {"broker_url": value, "result_url": value, "record_url": value} | values
        elif field in Retention.__struct_fields__:
            retention[field] = int(str(value))
        else:
            values[field] = value
    settings = msgspec.structs.replace(Settings(retention=Retention(**retention)), **values)
    urls = (settings.broker_url, settings.result_url, settings.record_url)
    if not settings.sentinel_master and any(url.startswith("sentinel:") for url in urls):
        raise SettingInvalid(f"{PREFIX}SENTINEL_MASTER is missing: a sentinel:// URL needs the name of the master.")
    if settings.api_keys_file is None and not _is_local(settings.bind):
        raise SettingInvalid(
            f"{PREFIX}BIND={settings.bind!r} cannot be used without {PREFIX}API_KEYS_FILE: any client could "
            "read, cancel and submit every task. Create a key with `task-status keys add`, or bind a loopback address "
            "such as 127.0.0.1:8000."
        )
    return settings


def _is_local(bind: str) -> bool:
    """Return whether a bind address can be reached from this machine only."""
    return bind.startswith("unix:") or is_loopback(bind.rpartition(":")[0].strip("[]"))


def _shown(name: str, text: str) -> str:
    """Return a value for an error message; URLs are hidden, because they may contain a password."""
    return "…" if name.endswith("_URL") else repr(text)


def _is_valid_url(url: str) -> bool:
    try:
        for one in url.split(";"):
            _ = urlsplit(one).port
    except ValueError:
        return False
    return True


def _url(schemes: frozenset[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not _is_valid_url(text):
            # The error of urlsplit quotes its port, which may be part of a password.
            raise ValueError("it must be a URL; a password in it must be percent-encoded")
        if urlsplit(text).scheme not in schemes:
            raise ValueError(f"it must start with one of {', '.join(f'{scheme}://' for scheme in sorted(schemes))}")
        return text

    return read


def _number(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text[:19]) <= high:
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return int(text)

    return read


def _bind(text: str) -> str:
    match = _BIND.fullmatch(text)
    if match is None or not (match["path"] or 1 <= int(match["port"]) <= _LAST_PORT):
        raise ValueError("it must be an address and a port, such as 127.0.0.1:8000, or a socket: unix:/path")
    return text


def _queues(text: str) -> frozenset[str]:
    queues = [queue.strip() for queue in text.split(",")]
    if wrong := [queue for queue in queues if not is_queue_name(queue)]:
        raise ValueError(
            f"{wrong[0]!r} is not a queue name: list names of up to 128 letters, digits and ._:@-, separated by commas,"
            " without names of keys of task-status, Celery and kombu"
        )
    return frozenset(queues)


def _default_queue(text: str) -> str:
    if is_reserved(text):
        raise ValueError("it must not be the name of a key of task-status, Celery or kombu")
    return text


def _final_states(text: str) -> FinalStates:
    states: dict[str, TaskState] = {}
    for item in text.split(","):
        name, _, outcome = item.partition("=")
        if not name.strip() or outcome.strip() not in _OUTCOMES:
            raise ValueError(f"each item must be NAME=STATE, with one of the states {', '.join(_OUTCOMES)}")
        states[name.strip()] = _OUTCOMES[outcome.strip()]
    return states


def _yes_or_no(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise ValueError("it must be yes or no")
    return text == "yes"


def _origins(text: str) -> frozenset[str]:
    origins = [origin.strip() for origin in text.split(",")]
    if wrong := [origin for origin in origins if not _ORIGIN.fullmatch(origin)]:
        raise ValueError(
            f"{wrong[0]!r} is not an origin: list each origin as scheme, host and any non-default port, in lower case "
            "and without a path, such as https://app.example.com; * is not supported"
        )
    return frozenset(origins)


def _volatile_store(text: str) -> VolatileStore:
    if text not in {choice.value for choice in VolatileStore}:
        raise ValueError(f"it must be one of {', '.join(VolatileStore)}")
    return VolatileStore(text)


#: each variable without its prefix: the field, and the function that parses its text
VARIABLES: Final[Mapping[str, tuple[str, Callable[[str], object]]]] = {
    "REDIS_URL": ("", _url(_REDIS_SCHEMES)),
    "BROKER_URL": ("broker_url", _url(_BROKER_SCHEMES)),
    "RESULT_URL": ("result_url", _url(_REDIS_SCHEMES)),
    "RECORD_URL": ("record_url", _url(_REDIS_SCHEMES)),
    "SENTINEL_MASTER": ("sentinel_master", str),
    "BIND": ("bind", _bind),
    "API_KEYS_FILE": ("api_keys_file", Path),
    "WORKERS": ("workers", _number(1, 1_000)),
    "TASKS": ("tasks", TaskNames.parse),
    "QUEUES": ("queues", _queues),
    "FINAL_STATES": ("final_states", _final_states),
    "GLOBAL_KEYPREFIX": ("global_keyprefix", str),
    "DEFAULT_QUEUE": ("default_queue", _default_queue),
    "RECORD_SECONDS": ("record_seconds", _number(60, 10 * 366 * 86_400)),
    "KNOWN_SECONDS": ("known_seconds", _number(0, 10 * 366 * 86_400)),
    # A worker is lost after LOST_SECONDS without a heartbeat, and its entry is deleted after SEEN_SECONDS.
    "LOST_FINAL_SECONDS": ("lost_final_seconds", _number(int(LOST_SECONDS), SEEN_SECONDS // 2)),
    "RESEND_SECONDS": ("resend_seconds", _number(0, 86_400)),
    "VOLATILE_STORE": ("volatile_store", _volatile_store),
    "TRUSTED_PROXIES": ("trusted_proxies", TrustedProxies.parse),
    "WATCHES": ("watches", _number(0, 1_000_000)),
    "WATCHES_PER_CALLER": ("watches_per_caller", _number(0, 1_000_000)),
    "REQUESTS_PER_SECOND": ("requests_per_second", _number(0, 1_000_000)),
    "QUEUED_PER_OWNER": ("queued_per_owner", _number(0, 1_000_000_000)),
    "STORED_BYTES_PER_OWNER": ("stored_bytes_per_owner", _number(0, 1 << 50)),
    "ARGUMENTS_SECONDS": ("arguments_seconds", _number(0, 10 * 366 * 86_400)),
    "TRACEBACKS": ("tracebacks", _yes_or_no),
    "CORS_ORIGINS": ("cors_origins", _origins),
    "FAST_READ": ("fast_read", _yes_or_no),
    "ACCESS_LOG": ("access_log", _yes_or_no),
    "MAX_BODY_BYTES": ("max_body_bytes", _number(1_024, 1 << 30)),
    "BODY_SECONDS": ("body_seconds", _number(1, 3_600)),
    "SEND_SECONDS": ("send_seconds", _number(1, 3_600)),
}
