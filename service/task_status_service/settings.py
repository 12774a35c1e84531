"""Settings, and the only reader of the environment: each variable is checked at start, each error names it."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from task_status_worker.record.keys import SEEN_SECONDS, Retention

from task_status_service.access.loopback import is_loopback
from task_status_service.errors import SettingInvalid
from task_status_service.status.model import LOST_SECONDS, FinalStates, TaskState
from task_status_service.task_types.catalog import TaskNames
from task_status_service.use_cases.readiness import VolatileStore

PREFIX: Final = "TASK_STATUS_"

_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix", "sentinel"})
_BROKER_SCHEMES: Final = _REDIS_SCHEMES | {"amqp", "amqps"}
#: what a custom final state may be said to mean
_OUTCOMES: Final = {state.value: state for state in (TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELED)}
_LAST_PORT: Final = 65_535
_BIND: Final = re.compile(r"unix:(?P<path>/.+)|(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>\d{1,5})")
#: as browsers write it (RFC 6454 section 6.2)
_ORIGIN: Final = re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*+|\[[0-9a-f:.]+\])(?::[1-9]\d{0,4})?")
#: what the commands read that are a client of the API; a shell that sets them may also start the service
_OF_CLIENT: Final = frozenset({"URL", "API_KEY"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Say how one service runs. The defaults are for a laptop: everything in one local Redis."""

    #: where messages go: Redis or RabbitMQ
    broker_url: str = "redis://127.0.0.1:6379/0"
    #: where Celery keeps its results
    result_url: str = "redis://127.0.0.1:6379/0"
    #: where records are kept; reading is fastest where this is the same as `result_url`
    record_url: str = "redis://127.0.0.1:6379/0"
    #: the master's name, for `sentinel://` URLs
    sentinel_master: str = ""
    #: address and port of the API, or a socket: `unix:/path`
    bind: str = "127.0.0.1:8000"
    #: the keys by which callers are told apart; None: there are none, and everybody may do everything
    api_keys_file: Path | None = None
    #: server processes
    workers: int = 1
    #: names that may be submitted; None: what the workers announce
    tasks: TaskNames | None = None
    #: custom Celery states that end a task, and what each means
    final_states: FinalStates = {}
    #: Celery's `result_backend_transport_options["global_keyprefix"]`
    global_keyprefix: str = ""
    #: queue of tasks that no worker announces; Celery's `task_default_queue`
    default_queue: str = "celery"
    #: how long records are kept
    retention: Retention = Retention()
    #: how many clients of one process may wait for or watch tasks at a time, and how many of one caller
    watches: int = 10_000
    watches_per_caller: int = 500
    #: how often one owner may ask in the long run, of one process (0: as often as it likes), and how many of its tasks
    #: may be queued (0: any number)
    requests_per_second: int = 200
    queued_per_owner: int = 10_000
    #: how long nothing is heard of the worker of a task that has then failed; None: it may still come back
    lost_final_seconds: int | None = None
    #: how long after it was sent a task that no worker has received is sent again, if its queue is empty; 0: never
    resend_seconds: int = 30
    #: what to do about a store that may lose tasks
    volatile_store: VolatileStore = VolatileStore.WARN
    #: the largest request body, in bytes, and how many seconds it may take to arrive
    max_body_bytes: int = 1_048_576
    body_seconds: int = 10
    #: how many seconds a client may take to read what it is sent: an answer, a piece of a large one, an event
    send_seconds: int = 60
    #: whether those with the scope `tracebacks` see tracebacks, worker names and paths
    tracebacks: bool = True
    #: the origins whose pages may read answers: `https://app.example.com`
    cors_origins: frozenset[str] = frozenset()
    #: False sends plain reads of a task through Flask like all other requests, to test whether the fast read causes a
    #: problem (docs/decisions/0033-fast-read.md)
    fast_read: bool = True


def from_env(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from environment variables; empty ones count as not set.

    Raises:
        SettingInvalid: naming the variable that cannot be used, or that does not exist.
    """
    given = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX) and text}
    given = {name: text for name, text in given.items() if name not in _OF_CLIENT}
    if unknown := sorted(given.keys() - VARIABLES.keys()):
        raise SettingInvalid(f"{PREFIX}{unknown[0]} is not a setting. There are: {', '.join(sorted(VARIABLES))}.")
    values: dict[str, object] = {}
    retention: dict[str, int] = {}
    for name, text in given.items():
        field, read = VARIABLES[name]
        try:
            value = read(text)
        except ValueError as error:
            raise SettingInvalid(f"{PREFIX}{name}={_shown(name, text)} cannot be used: {error}") from error
        if name == "REDIS_URL":
            values = {"broker_url": value, "result_url": value, "record_url": value} | values
        elif field in Retention.__struct_fields__:
            retention[field] = int(str(value))
        else:
            values[field] = value
    settings = msgspec.structs.replace(Settings(retention=Retention(**retention)), **values)
    urls = (settings.broker_url, settings.result_url, settings.record_url)
    if not settings.sentinel_master and any(url.startswith("sentinel:") for url in urls):
        raise SettingInvalid(f"{PREFIX}SENTINEL_MASTER must name the master, because a URL is one of Sentinel.")
    if settings.api_keys_file is None and not _is_local(settings.bind):
        raise SettingInvalid(
            f"{PREFIX}BIND={settings.bind!r} cannot be used without {PREFIX}API_KEYS_FILE: whoever reaches it could "
            "read, cancel and submit every task. Make a key with `task-status keys add`, or bind a loopback address "
            "such as 127.0.0.1:8000."
        )
    return settings


def _is_local(bind: str) -> bool:
    """Return whether a bind address can be reached from this machine only."""
    return bind.startswith("unix:") or is_loopback(bind.rpartition(":")[0].strip("[]"))


def _shown(name: str, text: str) -> str:
    """Show a value in an error, unless it may carry a password."""
    return "…" if name.endswith("_URL") else repr(text)


def _can_be_used(url: str) -> bool:
    try:
        for one in url.split(";"):
            _ = urlsplit(one).port
    except ValueError:
        return False
    return True


def _url(schemes: frozenset[str]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not _can_be_used(text):
            # In our words: what the library says quotes the part of the password that it takes for the port.
            raise ValueError("it is no URL. A password in it must be percent-encoded")
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


def _final_states(text: str) -> FinalStates:
    states: dict[str, TaskState] = {}
    for item in text.split(","):
        name, _, outcome = item.partition("=")
        if not name.strip() or outcome.strip() not in _OUTCOMES:
            raise ValueError(f"each must be NAME=OUTCOME with an outcome of {', '.join(_OUTCOMES)}")
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
            f"{wrong[0]!r} is no origin: scheme, host and, if it is not the usual one, port, in lower case and with "
            "nothing after them, such as https://app.example.com; each is listed, there is no *"
        )
    return frozenset(origins)


def _volatile_store(text: str) -> VolatileStore:
    if text not in {choice.value for choice in VolatileStore}:
        raise ValueError(f"it must be one of {', '.join(VolatileStore)}")
    return VolatileStore(text)


#: every variable, without its prefix: the field it sets, and how its text is read
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
    "FINAL_STATES": ("final_states", _final_states),
    "GLOBAL_KEYPREFIX": ("global_keyprefix", str),
    "DEFAULT_QUEUE": ("default_queue", str),
    "RECORD_SECONDS": ("record_seconds", _number(60, 10 * 366 * 86_400)),
    "KNOWN_SECONDS": ("known_seconds", _number(0, 10 * 366 * 86_400)),
    # Who is silent for less is not lost. Workers that were not seen for a day are forgotten.
    "LOST_FINAL_SECONDS": ("lost_final_seconds", _number(int(LOST_SECONDS), SEEN_SECONDS // 2)),
    "RESEND_SECONDS": ("resend_seconds", _number(0, 86_400)),
    "VOLATILE_STORE": ("volatile_store", _volatile_store),
    "WATCHES": ("watches", _number(0, 1_000_000)),
    "WATCHES_PER_CALLER": ("watches_per_caller", _number(0, 1_000_000)),
    "REQUESTS_PER_SECOND": ("requests_per_second", _number(0, 1_000_000)),
    "QUEUED_PER_OWNER": ("queued_per_owner", _number(0, 1_000_000_000)),
    "TRACEBACKS": ("tracebacks", _yes_or_no),
    "CORS_ORIGINS": ("cors_origins", _origins),
    "FAST_READ": ("fast_read", _yes_or_no),
    "MAX_BODY_BYTES": ("max_body_bytes", _number(1_024, 1 << 30)),
    "BODY_SECONDS": ("body_seconds", _number(1, 3_600)),
    "SEND_SECONDS": ("send_seconds", _number(1, 3_600)),
}
