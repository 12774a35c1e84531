"""The composition root: the only place that knows every part. Opens nothing; parts connect when they are used."""

import atexit
import functools
from collections.abc import Collection
from typing import Final

from flask import Flask
from task_status_worker.record.keys import Keys

from task_status_service.access.caller import ANYBODY
from task_status_service.access.keys_file import LiveKeyring
from task_status_service.api import actions, context, docs, events, health, task_tokens, task_types, tasks
from task_status_service.api.auth import authentication, rate_limits
from task_status_service.api.middleware.browser_headers import BrowserHeaders
from task_status_service.api.middleware.fast_read import FastRead
from task_status_service.api.openapi import document
from task_status_service.api.openapi.blueprint import ProblemApi
from task_status_service.api.responses import problems
from task_status_service.broker import CeleryBroker
from task_status_service.settings import Settings
from task_status_service.store.feed import Feed
from task_status_service.store.heartbeats import Heartbeats
from task_status_service.store.records import RedisStore, connect_to
from task_status_service.store.submissions import RedisSubmissionStore
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases import watcher
from task_status_service.use_cases.resender import Resender
from task_status_service.use_cases.submitter import Submitter
from task_status_service.use_cases.tracker import Tracker

#: where the app keeps its feed, for the server to close
FEED: Final = "task-status-feed"
#: and what it is to find out when it starts
CHECK_STORE: Final = "task-status-check-store"
#: and who looks for lost messages beside it
RESENDER: Final = "task-status-resender"


def create_app(settings: Settings) -> Flask:
    """Make the service with real parts."""
    keys = Keys.under(settings.global_keyprefix)
    master = settings.sentinel_master
    results_elsewhere = settings.result_url != settings.record_url
    records = connect_to(settings.record_url, sentinel_master=master)
    store = RedisStore(
        records,
        results=connect_to(settings.result_url, sentinel_master=master) if results_elsewhere else None,
        keys=keys,
        retention=settings.retention,
        heartbeats=Heartbeats(keys, window_seconds=settings.lost_final_seconds or 0),
    )
    broker = CeleryBroker(settings.broker_url, default_queue=settings.default_queue, sentinel_master=master)
    atexit.register(store.close)
    atexit.register(broker.close)
    tracker = Tracker(
        store,
        broker,
        final_states=settings.final_states,
        lost_final_seconds=settings.lost_final_seconds,
        volatile_store=settings.volatile_store,
        tracebacks=settings.tracebacks,
    )
    submissions = RedisSubmissionStore(
        records, keys=keys, retention=settings.retention, queued_per_owner=settings.queued_per_owner
    )
    catalog = Catalog(store.announcements, read_serving=store.serving, allowed=settings.tasks)
    submitter = Submitter(tracker, submissions, broker, catalog, default_queue=settings.default_queue)
    feed = Feed(
        store.publishers,
        tracker.read_many,
        # Whatever anybody may see of it may have changed.
        functools.partial(tracker.version, caller=ANYBODY),
        keys=keys,
        limit=settings.watches,
        limit_per_caller=settings.watches_per_caller,
    )
    who_asks = authentication.Access(
        LiveKeyring(settings.api_keys_file) if settings.api_keys_file else None,
        limits=rate_limits.Limits.of(settings.requests_per_second),
        is_local=not settings.bind.startswith("unix:"),
        origins=settings.cors_origins,
    )
    app = create_api(
        tracker,
        submitter,
        feed,
        who_asks=who_asks,
        max_body_bytes=settings.max_body_bytes,
        cors_origins=settings.cors_origins,
    )
    app.extensions[FEED] = feed
    app.extensions[CHECK_STORE] = tracker.readiness.check_store
    app.extensions[RESENDER] = Resender(tracker, submissions, broker, catalog, after_seconds=settings.resend_seconds)
    return app


def create_api(
    tracker: Tracker,
    submitter: Submitter,
    feed: watcher.Feed,
    *,
    who_asks: authentication.Access | None = None,
    cors_origins: Collection[str] = (),
    max_body_bytes: int = Settings().max_body_bytes,
) -> Flask:
    """Make the HTTP side around the use cases; tests hand in some with fakes."""
    app = Flask("task_status_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask types the provider by its base class
    context.attach(app, tracker, submitter, watcher.Watcher(tracker, feed))
    who_asks = who_asks or authentication.Access(origins=cors_origins)
    authentication.attach(app, who_asks)
    rate_limits.register(app)
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
    # Flask's way of adding a layer.
    app.wsgi_app = BrowserHeaders(FastRead(app, tracker, who_asks), cors_origins)  # type: ignore[method-assign]
    return app
