"""The alternatives of a Flask user, one app each, and the upper bound of any Flask app."""

import os

from celery.result import AsyncResult
from flask import Flask, Response, jsonify, request

from bench.celery_app import app as celery


def bare() -> Flask:
    """Make an app that returns constant bytes, as many as the real answer: the upper bound."""
    app = Flask("bare")
    body = b"x" * int(os.environ["BENCH_BODY_BYTES"])

    @app.get("/tasks/<task_id>")
    def get_task(task_id: str) -> Response:  # noqa: ARG001  # Flask passes it
        return Response(body, content_type="application/json")

    return app


def async_result() -> Flask:
    """Make an app that returns state and info of a task."""
    app = Flask("async_result")

    @app.get("/tasks/<task_id>")
    def get_task(task_id: str) -> Response:
        result = AsyncResult(task_id, app=celery)
        return jsonify(id=task_id, state=result.state, info=result.info)

    return app


def send_task() -> Flask:
    """Make an app that sends a task and returns its id, with a result backend like most apps."""
    return _sending("send_task")


def send_only() -> Flask:
    """Make the same app without a result backend, so that Celery does not subscribe to the result."""
    celery.conf.result_backend = None
    return _sending("send_only")


def _sending(name: str) -> Flask:
    app = Flask(name)

    @app.post("/tasks")
    def submit_task() -> tuple[Response, int]:
        body = request.get_json()
        sent = celery.send_task(body["name"], args=body.get("args"), kwargs=body.get("kwargs"))
        return jsonify(id=sent.id), 202

    return app
