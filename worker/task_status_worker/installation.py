"""`install(app)`: the composition root of the worker kit, the only module that knows all others."""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

import celery
from celery import signals
from celery.exceptions import ImproperlyConfigured
from celery.utils.imports import symbol_by_name

from task_status_worker import heartbeat
from task_status_worker import signals as facts
from task_status_worker.backend import guard_backend
from task_status_worker.record.connection import is_redis_url
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.recorder import Recorder
from task_status_worker.redis_client import RedisRecordClient
from task_status_worker.registry import Kit, kit_of, remember
from task_status_worker.request import StatusRequest
from task_status_worker.task import StatusTask

#: the oldest Celery that the kit supports; `dependencies` in worker/pyproject.toml has the same bound
MIN_CELERY: Final = (5, 4)

#: settings of workers that a true status needs, unless the app sets them itself. Other processes keep Celery's: with
#: these, reading an `AsyncResult` in a web process would retry for half an hour while Redis is away
SETTINGS: Final[Mapping[str, Any]] = {
    "task_track_started": True,
    # Celery retries a result that it cannot store. Without this a task that succeeded is stored as FAILURE with a
    # ConnectionError (celery#8588). It retries for about half an hour, with a backoff of up to 2 s instead of 10 s, so
    # that results are stored soon after Redis is back.
    "result_backend_always_retry": True,
    "result_backend_max_retries": 1_800,
    "result_backend_max_sleep_between_retries_ms": 2_000,
    # Seconds. Celery's defaults are 120 for an answer, and no limit for a connection.
    "redis_socket_timeout": 5.0,
    "redis_socket_connect_timeout": 1.0,
    "redis_backend_health_check_interval": 15,
    # One backend per process. Celery's default is one per thread or greenlet, each with its own connections.
    "result_backend_thread_safe": True,
}

_DEFAULT_RETENTION: Final = Retention()


def install(
    app: Any,
    *,
    record_url: str | None = None,
    retention: Retention = _DEFAULT_RETENTION,
    delivery_limit: int = 5,
) -> None:
    """Make the workers of an app record the facts of its tasks.

    Call it after the app is configured; a second call changes nothing. In a worker process it changes some settings of
    Celery, except those that the app has set; in other processes it changes none. Tasks may be registered before or
    after the call.

    Args:
        app: the `celery.Celery` app
        record_url: the Redis of the records; None uses the app's Redis result backend, or else its Redis broker
        retention: how long records are kept
        delivery_limit: how many starts one attempt may have if the broker keeps redelivering its message, as with
            `task_reject_on_worker_lost`, before the task ends as failed; 0 means unlimited

    Raises:
        celery.exceptions.ImproperlyConfigured: there is no Redis to keep records in, or Celery is too old
    """
    if kit_of(app) is not None:
        return
    require_celery(celery.__version__)
    url = record_url or _redis_url_of(app)
    options = app.conf.result_backend_transport_options or {}
    client_of_process = _client_factory(url, options.get("master_name"))
    recorder = Recorder(client_of_process, keys=Keys.under(options.get("global_keyprefix")), retention=retention)
    remember(app, Kit(recorder=recorder, delivery_limit=delivery_limit))

    # Repeated when the app reloads its configuration, which drops the settings that the kit has made.
    app.on_after_configure.connect(_configure_sender, weak=False)
    _guard_backends(app)
    app.Task = _with_status(app.Task)
    app.on_after_finalize.connect(_adopt_tasks_of_sender, weak=False)
    if app.finalized:
        _adopt_tasks(app)
    facts.connect()
    heartbeat.connect()
    signals.worker_init.connect(_prepare_worker, weak=False)


def require_celery(version: str) -> None:
    """Refuse a Celery that is older than `MIN_CELERY`.

    pip checks the bound, but not for a kit on `PYTHONPATH` or a Celery that was downgraded later. The kit relies on
    internals of Celery, so an older one would fail later, in a running worker, without naming the cause.

    Raises:
        celery.exceptions.ImproperlyConfigured: Celery is too old
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) >= MIN_CELERY:
        return
    oldest = ".".join(map(str, MIN_CELERY))
    raise ImproperlyConfigured(
        f"task-status-worker needs Celery {oldest} or later and found {version}: "
        f"upgrade it (pip install 'celery>={oldest}'), or remove install(app) from this app"
    )


def _redis_url_of(app: Any) -> str:
    for url in (app.conf.result_backend, app.conf.broker_url):
        if isinstance(url, str) and is_redis_url(url):
            return url
    raise ImproperlyConfigured(
        "install(app) found neither a Redis result backend nor a Redis broker for the records: "
        "configure the app before the call, or pass install(app, record_url='redis://...')"
    )


def _client_factory(url: str, sentinel_master: str | None) -> Any:
    def connect() -> RedisRecordClient:
        return RedisRecordClient(url, sentinel_master=sentinel_master)

    connect()  # opens no connection, but raises for an invalid URL
    return connect


def configure_worker(app: Any) -> None:
    """Make the settings of a worker process, and drop a result backend that was created without them."""
    missing = {name: value for name, value in SETTINGS.items() if not app.conf.value_set_for(name)}
    app.conf.update(missing)
    app._backend_cache = None  # noqa: SLF001  # Celery cannot configure a backend again
    vars(app._local).pop("backend", None)  # noqa: SLF001  # as above; the cache of one thread
    if "task_track_started" in missing:
        _track_started(app)


def _configure_sender(sender: Any, **_: Any) -> None:
    kit = kit_of(sender)
    if kit is not None and kit.instance is not None:
        configure_worker(sender)


def _guard_backends(app: Any) -> None:
    """Make the app's result backend safe, and each one that it creates later, for example one per thread."""
    make = app._get_backend  # noqa: SLF001  # the only place where Celery creates a backend
    app._get_backend = lambda: guard_backend(make())  # noqa: SLF001  # as above
    present = app._backend  # noqa: SLF001  # `app.backend` would create one before the app is fully configured
    if present is not None:
        guard_backend(present)


def _adopt_tasks_of_sender(sender: Any, **_: Any) -> None:
    _adopt_tasks(sender)


def _adopt_tasks(app: Any) -> None:
    """Put the kit's Task class before each task's own, in place: other code holds references to the task."""
    for task in app.tasks.values():
        if not isinstance(task, StatusTask):
            task.__class__ = _with_status(type(task))
        own_backend = _own_backend_of(task)
        if own_backend is not None:
            guard_backend(own_backend)


def _own_backend_of(task: Any) -> Any:
    """Return the backend that is set on the task itself; `task.backend` would create the app's."""
    given = inspect.getattr_static(task, "backend")
    return task._backend if isinstance(given, property) else given  # noqa: SLF001  # the value behind that property


def _with_status(cls: Any) -> Any:
    if issubclass(cls, StatusTask):
        return cls
    # The user's class stays below, with all its methods; what Celery bound to it is inherited.
    return type(
        cls.__name__,
        (StatusTask, cls),
        {"__module__": cls.__module__, "__doc__": cls.__doc__, "abstract": cls.abstract},
    )


def _track_started(app: Any) -> None:
    """Apply `task_track_started` to tasks that are already bound: Celery copies it only when it binds them."""
    for task in app.tasks.values():
        if not task.track_started:
            task.track_started = True


def _prepare_worker(sender: Any, **_: Any) -> None:
    """Make the settings, adopt tasks that were registered late, and put the kit's Request class before each own."""
    app = sender.app
    if kit_of(app) is None:
        return
    _adopt_tasks(app)
    configure_worker(app)
    for task in app.tasks.values():
        cls = symbol_by_name(task.Request)
        if not issubclass(cls, StatusRequest):
            task.Request = type(cls.__name__, (StatusRequest, cls), {"__module__": cls.__module__})
