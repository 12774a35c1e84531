"""The backend of a page: it holds the API key, submits tasks, and issues a token for one task.

    TASK_STATUS_CORS_ORIGINS=http://127.0.0.1:8080 make run    # the service, in a separate terminal
    .venv/bin/python examples/browser/server.py                # the page: http://127.0.0.1:8080

`TASK_STATUS_URL` is the URL of the service, for this backend and for the browser. If the service requires keys,
`TASK_STATUS_API_KEY` is one with the scopes submit, read and cancel. The page's origin must be in the service's
`TASK_STATUS_CORS_ORIGINS`. Requires flask and requests.
"""

import os
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from flask import Flask, Response, abort, request, send_from_directory, session
from requests.adapters import HTTPAdapter
from urllib3 import Retry

HERE: Final = Path(__file__).parent
PORT: Final = int(os.environ.get("PORT", "8080"))
SERVICE: Final = os.environ.get("TASK_STATUS_URL", "http://127.0.0.1:8000").rstrip("/")
API_KEY: Final = os.environ.get("TASK_STATUS_API_KEY")

#: the jobs that a visitor may start: the page sends one of these names, never a task type or arguments
JOBS: Final[dict[str, dict[str, Any]]] = {
    "count": {"name": "demo.count", "kwargs": {"total": 60}},
    "steps": {"name": "demo.checkpointed", "kwargs": {"total": 60}},
    "retries": {"name": "demo.flaky", "kwargs": {"fail_times": 2}},
    "fails": {
        "name": "demo.fail_with_details",
        "kwargs": {"message": "Row 7 has no price.", "details": {"row": 7, "column": "price"}},
    },
}
TOKEN: Final = {"scopes": ["read", "cancel"], "ttl_seconds": int(os.environ.get("TOKEN_SECONDS", "600"))}
MAX_REMEMBERED: Final = 20

#: only files of this server and the service are allowed, and no inline code
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    f"connect-src 'self' {'{0.scheme}://{0.netloc}'.format(urlsplit(SERVICE))}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

app = Flask(__name__, static_folder=None)
# The cookie holds the task ids of this visitor; pages of other sites cannot cause it to be sent.
app.config.update(SECRET_KEY=secrets.token_hex(), SESSION_COOKIE_SAMESITE="Strict")

service = requests.Session()
# A submission has an Idempotency-Key, so it is safe to retry.
retries = Retry(total=4, backoff_factor=0.5, status_forcelist={429, 502, 503, 504}, allowed_methods=None)
service.mount(SERVICE, HTTPAdapter(max_retries=retries))
if API_KEY:
    service.headers["Authorization"] = f"Bearer {API_KEY}"


@app.get("/")
@app.get("/<any('page.js', 'style.css', 'icon.svg'):name>")
def get_page(name: str = "index.html") -> Response:
    """Return the page, or one of its files."""
    return send_from_directory(HERE, name)


@app.post("/jobs")
def start_job() -> tuple[dict[str, Any], int]:
    """Submit one of the jobs."""
    # Requires the JSON content type, which pages of other origins cannot send.
    job = request.get_json().get("job")
    if job not in JOBS:
        abort(422, "Unknown job.")
    task = ask("/tasks", JOBS[job], {"Idempotency-Key": secrets.token_hex()})
    session["task_ids"] = [*session.get("task_ids", []), task["id"]][-MAX_REMEMBERED:]
    return with_token(task["id"]), 201


@app.post("/jobs/<task_id>/tokens")
def renew_token(task_id: str) -> tuple[dict[str, Any], int]:
    """Return a new token for a task of this visitor."""
    if task_id not in session.get("task_ids", []):
        abort(404, "This task is not yours, or your session has expired.")
    return with_token(task_id), 201


def with_token(task_id: str) -> dict[str, Any]:
    """Return the data that the page needs to follow one task, with a token for this task only."""
    issued = ask(f"/tasks/{task_id}/tokens", TOKEN)
    return {"service": SERVICE, "id": task_id, "token": issued["token"], "scopes": issued["scopes"]}


def ask(path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
    """Send a request to the service; the visitor sees no details of errors."""
    try:
        response = service.post(f"{SERVICE}{path}", json=body, headers=headers, timeout=10)
        response.raise_for_status()
    except requests.RequestException:
        app.logger.exception("The request to %s failed", path)
        abort(502, "The task service failed: try again later.")
    answer: dict[str, Any] = response.json()
    return answer


@app.errorhandler(404)
@app.errorhandler(415)
@app.errorhandler(422)
@app.errorhandler(502)
def as_json(error: Any) -> tuple[dict[str, str], int]:
    """Return an error as JSON."""
    return {"detail": error.description}, error.code


@app.after_request
def protect(response: Response) -> Response:
    """Add the content security policy to every response."""
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


if __name__ == "__main__":
    app.run(port=PORT)
