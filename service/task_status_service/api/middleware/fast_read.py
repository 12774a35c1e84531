"""The fast read: WSGI middleware that answers plain reads of one task before Flask.

Flask takes longer than the read itself (docs/decisions/0033-fast-read.md). A plain read is `GET /tasks/{id}` without a
query and without a `Prefer` header. It calls the same functions as the view, so the bytes are the same. Flask answers
all other requests, and every error.
"""

import http
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flask import Flask, Response

from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import Access
from task_status_service.api.requests.fields import TASK_ID
from task_status_service.api.responses.caching import known_versions, status_answer
from task_status_service.use_cases.tracker import Tracker

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_PATH: Final = "/tasks/"
#: in upper case, as werkzeug writes them
_STATUS_LINES: Final = {int(status): f"{status.value} {status.phrase.upper()}" for status in http.HTTPStatus}


class FastRead:
    """WSGI middleware around the `wsgi_app` of a Flask app."""

    def __init__(self, app: Flask, tracker: Tracker, access: Access) -> None:
        self._app = app
        self._flask = app.wsgi_app
        self._tracker = tracker
        self._access = access

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a request."""
        task_id = _task_id_of_plain_read(environ)
        if task_id is None:
            return self._flask(environ, start_response)
        try:
            caller = self._access.admit(environ)
            caller.require(Scope.READ)
            known = known_versions(environ.get("HTTP_IF_NONE_MATCH"))
            answer = status_answer(self._tracker.status_of(task_id, caller, known))
        except Exception as error:  # noqa: BLE001  # every error is answered as a problem
            return self._problem(error, environ)(environ, start_response)
        start_response(_STATUS_LINES[answer.code], answer.headers)
        return [answer.body] if answer.body else []

    def _problem(self, error: Exception, environ: "WSGIEnvironment") -> Response:
        """Answer an error as Flask does if a view raises it (Flask.full_dispatch_request and Flask.wsgi_app)."""
        with self._app.request_context(environ):
            try:
                return self._app.make_response(self._app.handle_user_exception(error))
            except Exception as unforeseen:  # noqa: BLE001  # as Flask does
                return self._app.handle_exception(unforeseen)


def _task_id_of_plain_read(environ: "WSGIEnvironment") -> str | None:
    """Return the task id of a plain read; None for any other request."""
    if environ["REQUEST_METHOD"] != "GET" or environ.get("QUERY_STRING") or "HTTP_PREFER" in environ:
        return None
    path: str = environ["PATH_INFO"]
    if not path.startswith(_PATH) or TASK_ID.fullmatch(path, len(_PATH)) is None:
        return None
    return path[len(_PATH) :]
