"""The composition root: the only module that builds every part of the service.

Building opens no connection: the store and the broker connect when they are first used.
"""

import functools
import threading
import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Final

import msgspec
from flask import Flask
from task_status_worker.record.keys import Keys

from task_status_service.access.caller import ANYBODY
from task_status_service.access.keys_file import LiveKeyring
from task_status_service.access.shared_memory import LimitMemory
from task_status_service.access.watch_limits import Places
from task_status_service.api import actions, context, docs, events, health, task_tokens, task_types, tasks
from task_status_service.api.auth import authentication, rate_limits
from task_status_service.api.middleware.browser_headers import BrowserHeaders
from task_status_service.api.middleware.fast_read import FastRead
from task_status_service.api.middleware.rate_limit_headers import RateLimitHeaders
from task_status_service.api.openapi import document
from task_status_service.api.openapi.blueprint import ProblemApi
from task_status_service.api.requests import clock
from task_status_service.api.responses import problems
from task_status_service.broker import CeleryBroker
from task_status_service.settings import Settings
from task_status_service.status import Visibility
from task_status_service.status.cache import StatusCache
from task_status_service.store.announcements import RedisAnnouncements
from task_status_service.store.expiry import RedisExpiry
from task_status_service.store.feed import Feed
from task_status_service.store.heartbeats import Heartbeats
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import OwnerLimits, RedisSubmissionStore
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.lost_workers import LostTasks
from task_status_service.use_cases.readiness import Readiness
from task_status_service.use_cases.resender import Resender
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.sweeper import Sweeper
from task_status_service.use_cases.tracker import Tracker
from task_status_service.use_cases.watcher import Watcher

#: the shortest time of a timer
PAUSE_SECONDS: Final = 1e-6


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """The WSGI app, the parts that a server runs beside it, and the connections that it closes."""

    app: Flask
    feed: Feed
    readiness: Readiness
    #: None if `RESEND_SECONDS` disables it
    resender: Resender | None
    sweeper: Sweeper
    store: RedisStore
    broker: CeleryBroker

    def close(self) -> None:
        """End waits and streams, and close all connections."""
        self.feed.close()
        self.broker.close()
        self.store.close()


def _utc_now() -> datetime:
    return datetime.now(UTC)


def create_service(
    settings: Settings,
    memory: LimitMemory | None = None,
    process: int | None = None,
    *,
    now: Callable[[], datetime] = _utc_now,
) -> Service:
    """Build the service over Redis and Celery; the caller closes it.

    Args:
        settings: the settings.
        memory: memory of the limits, which the processes of a server share.
        process: number of this process in that memory.
        now: the clock of this process.
    """
    memory = memory or LimitMemory()
    keys = Keys.under(settings.global_keyprefix)
    master = settings.sentinel_master
    results_elsewhere = settings.result_url != settings.record_url
    records = connect_to(settings.record_url, sentinel_master=master)
    heartbeats = Heartbeats(keys, window_seconds=settings.lost_final_seconds or 0, now=now)
    store = RedisStore(
        records,
        results=connect_to(settings.result_url, sentinel_master=master) if results_elsewhere else None,
        keys=keys,
        retention=settings.retention,
        heartbeats=heartbeats,
    )
    broker = CeleryBroker(settings.broker_url, default_queue=settings.default_queue, sentinel_master=master)
    submissions = RedisSubmissionStore(
        records,
        keys=keys,
        retention=settings.retention,
        limits=OwnerLimits(queued_tasks=settings.queued_per_owner, stored_bytes=settings.stored_bytes_per_owner),
        arguments_seconds=settings.arguments_seconds,
        holds_messages=settings.broker_holds_records,
    )
    catalog = Catalog(
        RedisAnnouncements(records, keys=keys, on_unavailable=heartbeats.mark_unreachable),
        allowed=settings.tasks,
        queues=settings.queues | {settings.default_queue},
    )
    readiness = Readiness(store, broker, volatile_store=settings.volatile_store)
    tracker = _create_tracker(settings, store, broker)
    feed = Feed(
        store.publishers,
        tracker.read_many,
        # The status of any visibility may have changed.
        functools.partial(tracker.version, caller=ANYBODY),
        keys=keys,
        places=Places(settings.watches, memory.watches(process)),
    )
    use_cases = context.UseCases(
        tracker=tracker,
        submitter=Submitter(tracker, submissions, broker, catalog, default_queue=settings.default_queue),
        watcher=Watcher(tracker, feed),
        catalog=catalog,
        readiness=readiness,
    )
    access = authentication.Access(
        LiveKeyring(settings.api_keys_file) if settings.api_keys_file else None,
        limits=rate_limits.Limits(
            settings.requests_per_second, watches_per_caller=settings.watches_per_caller, memory=memory
        ),
        is_local=not settings.bind.startswith("unix:"),
        origins=settings.cors_origins,
        proxies=settings.trusted_proxies,
    )
    resender = Resender(tracker, submissions, broker, catalog, after_seconds=settings.resend_seconds)
    return Service(
        app=create_api(
            use_cases,
            access=access,
            max_body_bytes=settings.max_body_bytes,
            cors_origins=settings.cors_origins,
            fast_read=settings.fast_read,
            now=store.now,
        ),
        feed=feed,
        readiness=readiness,
        resender=resender if settings.resend_seconds else None,
        sweeper=Sweeper(RedisExpiry(records, keys=keys, retention=settings.retention)),
        store=store,
        broker=broker,
    )


def _create_tracker(settings: Settings, store: RedisStore, broker: CeleryBroker) -> Tracker:
    # One large value is decoded at a time, so that concurrent reads of them delay other requests no more than one does.
    create_cache = functools.partial(StatusCache, settings.final_states, turn=threading.Lock(), pause=_pause)
    public = create_cache(Visibility.PUBLIC)
    return Tracker(
        store,
        broker,
        LostTasks(store, after_seconds=settings.lost_final_seconds, final_states=settings.final_states),
        public=public,
        operator=create_cache(Visibility.OPERATOR) if settings.tracebacks else public,
        final_states=settings.final_states,
    )


def _pause() -> None:
    """Let other requests run, under gevent also those whose data has just arrived.

    gevent runs ready greenlets many times before it polls the network: with `sleep(0)` after every 10 ms of work,
    another request took 1.4 s. The timer of a longer sleep makes it poll each time: 40 ms.
    """
    time.sleep(PAUSE_SECONDS)


def create_api(
    use_cases: context.UseCases,
    *,
    access: authentication.Access,
    max_body_bytes: int,
    cors_origins: Collection[str] = (),
    fast_read: bool = True,
    now: Callable[[], datetime] = _utc_now,
) -> Flask:
    """Build the WSGI app over the use cases; `now` returns the time by the clock of the store.

    Cross-cutting concerns are WSGI middleware and never Flask hooks, which do not run on the fast read.
    """
    app = Flask("task_status_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    # Otherwise `//` in a path redirects before authentication, to a URL that contains any `access_token` of the query.
    app.url_map.merge_slashes = False
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask types the provider by its base class
    context.attach(app, use_cases)
    authentication.attach(app, access)
    clock.attach(app, now)
    problems.register(app)
    api = ProblemApi(
        app,
        spec_kwargs={
            "title": document.INFO["title"],
            "version": document.INFO["version"],
            "openapi_version": document.OPENAPI_VERSION,
            "info": document.INFO,
            "servers": [{"url": "/"}],
            "marshmallow_plugin": document.RequestPlugin(),
        },
    )
    for blueprint in (
        tasks.blueprint,
        actions.blueprint,
        events.blueprint,
        task_tokens.blueprint,
        task_types.blueprint,
        health.blueprint,
    ):
        api.register_blueprint(blueprint)
    docs.register(app, api)
    inner = FastRead(app, use_cases.tracker, access) if fast_read else app.wsgi_app
    # Flask documents replacing `wsgi_app` as the way to add WSGI middleware.
    app.wsgi_app = BrowserHeaders(RateLimitHeaders(inner), cors_origins)  # type: ignore[method-assign]
    return app
