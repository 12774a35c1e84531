"""The composition root: the only place that knows every part. Opens nothing; parts connect when they are used."""

import atexit

from flask import Flask
from task_status_worker.record import Keys

from task_status_service.api import context, docs, document, health, problems, tasks
from task_status_service.api.smorest import ProblemApi
from task_status_service.broker import CeleryBroker
from task_status_service.catalog import Catalog
from task_status_service.settings import Settings
from task_status_service.store import RedisStore, connect_to
from task_status_service.tracker import Tracker


def create_app(settings: Settings) -> Flask:
    """Make the service with real parts."""
    master = settings.sentinel_master
    results_elsewhere = settings.result_url != settings.record_url
    store = RedisStore(
        connect_to(settings.record_url, sentinel_master=master),
        results=connect_to(settings.result_url, sentinel_master=master) if results_elsewhere else None,
        keys=Keys.under(settings.global_keyprefix),
        retention=settings.retention,
    )
    broker = CeleryBroker(settings.broker_url, default_queue=settings.default_queue, sentinel_master=master)
    atexit.register(store.close)
    atexit.register(broker.close)
    tracker = Tracker(
        store,
        broker,
        Catalog(store.announcements, allowed=settings.tasks),
        final_states=settings.final_states,
        default_queue=settings.default_queue,
    )
    return create_api(tracker, max_body_bytes=settings.max_body_bytes)


def create_api(tracker: Tracker, *, max_body_bytes: int = Settings().max_body_bytes) -> Flask:
    """Make the HTTP side around a tracker; tests hand in one with fakes."""
    app = Flask("task_status_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask types the provider by its base class
    context.attach(app, tracker)
    problems.register(app)
    api = ProblemApi(
        app,
        spec_kwargs={
            "title": document.INFO["title"],
            "version": document.INFO["version"],
            "openapi_version": document.OPENAPI_VERSION,
            "info": document.INFO,
            "servers": [{"url": "/"}],
        },
    )
    for blueprint in (tasks.blueprint, health.blueprint):
        api.register_blueprint(blueprint)
    docs.register(app, api)
    return app
