"""What is answered besides problems: encoded straight from structs, with the headers that go with it."""

from typing import Annotated, Any, Final

import msgspec
from flask import Response
from msgspec import Meta

from task_status_service.status import TaskStatus

#: how long a client waits before it asks again about a task that is not done, in seconds
POLL_SECONDS: Final = 1

_encode = msgspec.json.Encoder().encode


class Alive(msgspec.Struct, frozen=True):
    """This process answers."""

    status: Annotated[str, Meta(description="Always `alive`.")] = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Redis and the broker answer, and a worker was seen."""

    status: Annotated[str, Meta(description="Always `ready`.")] = "ready"


def json_response(body: Any, status: int = 200) -> Response:
    """Encode anything that msgspec can."""
    return Response(_encode(body), status, content_type="application/json")


def status_response(task: TaskStatus, code: int = 200) -> Response:
    """Answer a status; one that may still change says when to ask again."""
    response = json_response(task, code)
    response.headers["Cache-Control"] = "private, no-cache"
    if not task.done:
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return response
