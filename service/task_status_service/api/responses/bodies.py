"""Bodies of responses other than problems, encoded from structs, with their headers."""

import http
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple, cast

import msgspec
from flask import Response
from msgspec import Meta
from werkzeug.datastructures import Headers as WerkzeugHeaders

from task_status_service.access.task_tokens import TokenScope
from task_status_service.api.requests.cursor import to_cursor
from task_status_service.status import TaskStatus
from task_status_service.task_types.catalog import AvailableTaskType, AvailableTaskTypes
from task_status_service.use_cases.listing import TaskPage

#: Cache-Control of a response that may change
LIVE: Final = "private, no-cache"
#: Cache-Control of a response that is constant until the task is deleted
KEPT: Final = "private, max-age=60"

#: a list of pairs: setting headers one by one in Flask takes longer than encoding the body
Headers = Sequence[tuple[str, str]]
JSON: Final = ("Content-Type", "application/json")
#: bytes of a large response that are written at once
PIECE_BYTES: Final = 256 * 1024

_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A complete response for WSGI, with all its headers."""

    code: int
    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> Response:
        """Return it as a Flask response."""
        response = Response(_pieces(self.body), self.code)
        response.headers = WerkzeugHeaders(self.headers)
        return response


def _pieces(body: bytes) -> Iterable[bytes]:
    """Divide a body into pieces, because the server limits the time of each write."""
    return (
        [body]
        if len(body) <= PIECE_BYTES
        else (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))
    )


class Alive(msgspec.Struct, frozen=True):
    """The process is alive."""

    status: Annotated[str, Meta(description="Always `alive`.")] = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Redis and the broker answer, and a worker has sent a heartbeat."""

    status: Annotated[str, Meta(description="Always `ready`.")] = "ready"
    store_epoch: Annotated[
        str | None,
        Meta(
            description="Identifies the data of the store: a time and a random part, and after a failover of Redis a "
            "mark of it. If it changes, the store has lost data. Null if the service has no permission to read it, and "
            "for callers without a key."
        ),
    ] = None
    warnings: Annotated[
        Sequence[str], Meta(description="Warnings for the operator of a working service; empty without warnings.")
    ] = ()


class IssuedToken(msgspec.Struct, frozen=True):
    """A token for one task."""

    token: Annotated[str, Meta(description="Send it as `Authorization: Bearer`, or as `?access_token=` to `/events`.")]
    scopes: Annotated[list[TokenScope], Meta(description="Scopes of the token.")]
    expires_at: Annotated[datetime, Meta(tz=True, description="Time at which the token expires.")]


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a list of tasks, newest first, or the tasks of the requested ids."""

    items: Annotated[list[TaskStatus], Meta(description="The statuses; a page may hold fewer than `limit`.")]
    next_cursor: Annotated[str | None, Meta(description="`cursor` of the next page; null after the last one.")]
    missing: Annotated[list[str], Meta(description="Requested ids without any stored data.")]

    @classmethod
    def of(cls, page: TaskPage) -> "TaskList":
        """Create the body of a page."""
        next_cursor = None if page.next is None else to_cursor(page.next)
        # The statuses are already encoded.
        items = cast("list[TaskStatus]", [msgspec.Raw(decoded.body) for decoded in page.items])
        return cls(items=items, next_cursor=next_cursor, missing=page.missing)


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """A registered task name and its arguments."""

    name: Annotated[str, Meta(description="The registered name, as `name` of a submission.")]
    doc: Annotated[str | None, Meta(description="Its docstring.")]
    queue: Annotated[str | None, Meta(description="Default queue of a submission; null if no worker announces one.")]
    workers: Annotated[
        int, Meta(description="Number of live workers that consume it. 0 means that a submission would stay queued.")
    ]
    ignores_result: Annotated[bool, Meta(description="Whether its results are discarded.")]
    arguments: Annotated[
        dict[str, Any],
        Meta(
            description="JSON Schema (2020-12) of all arguments by name, with their defaults.",
            # Without it TypeScript has an object without properties.
            extra_json_schema={"additionalProperties": True},
        ),
    ]
    positional: Annotated[list[str], Meta(description="Names of the positional arguments, in order.")]
    positional_only: Annotated[
        int, Meta(description="Number of leading `positional` arguments that are positional-only.")
    ]
    var_positional: Annotated[bool, Meta(description="Whether it accepts additional positional arguments.")]

    @classmethod
    def of(cls, available: AvailableTaskType) -> "TaskType":
        """Create the body of an available task type."""
        announced = available.task_type
        try:
            arguments = msgspec.json.decode(announced.arguments)
        except msgspec.MsgspecError:
            # msgspec does not check the texts in a part that it copies.
            arguments = None
        return cls(
            name=announced.name,
            doc=announced.doc,
            queue=announced.queue,
            workers=available.workers,
            ignores_result=announced.ignore_result,
            # An announced schema that is not an object would accept everything, as this one does.
            arguments=arguments if isinstance(arguments, dict) else {"type": "object"},
            positional=announced.positional,
            positional_only=announced.positional_only,
            var_positional=bytes(announced.var_positional) != b"false",
        )


class TaskTypeList(msgspec.Struct, frozen=True):
    """The task types that may be submitted, by name."""

    items: Annotated[list[TaskType], Meta(description="The available task types, without pagination.")]
    truncated: Annotated[
        bool,
        Meta(
            description="Whether there are more task types than a list contains: at most 2,000, of two megabytes."
            " Each can be read by its name."
        ),
    ]

    @classmethod
    def of(cls, available: AvailableTaskTypes) -> "TaskTypeList":
        """Create the body of the available task types."""
        return cls([TaskType.of(one) for one in available.items], truncated=not available.is_complete)


def json_response(body: Any, status: int = 200, headers: Headers = ()) -> Response:
    """Return a response with a body that msgspec encodes."""
    return Response(_encode(body), status, [*headers, JSON])


def list_response(page: TaskPage) -> Response:
    """Return the response for some tasks, which may change at any time."""
    response = json_response(TaskList.of(page))
    response.headers["Cache-Control"] = LIVE
    return response


def answer_of(body: bytes, headers: Headers) -> Answer:
    """Return a response of encoded JSON."""
    return Answer(http.HTTPStatus.OK, [*headers, JSON, ("Content-Length", str(len(body)))], body)


def result_answer(result: Any) -> Answer:
    """Return a response of a result, which is constant."""
    return answer_of(_encode(result), [("Cache-Control", KEPT)])
