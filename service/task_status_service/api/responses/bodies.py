"""What is answered besides problems: encoded straight from structs, with the headers that go with it."""

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
from task_status_service.task_types.catalog import AvailableTaskType
from task_status_service.use_cases.listing import TaskPage

#: Cache-Control of an answer that may change
LIVE: Final = "private, no-cache"
#: and of one that will not, until the task is forgotten
KEPT: Final = "private, max-age=60"

#: in pairs and in one go: setting one header after the other costs Flask more than encoding the body
Headers = Sequence[tuple[str, str]]
JSON: Final = ("Content-Type", "application/json")
#: what is written in one go of an answer that may be large
PIECE_BYTES: Final = 256 * 1024

_encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """An answer in full, ready for WSGI: whoever sends it adds nothing."""

    code: int
    headers: list[tuple[str, str]]
    body: bytes

    def response(self) -> Response:
        """Make it Flask's."""
        response = Response(_pieces(self.body), self.code)
        response.headers = WerkzeugHeaders(self.headers)
        return response


def _pieces(body: bytes) -> Iterable[bytes]:
    """Cut a body: the server bounds how long a client may take for one piece."""
    return (
        [body]
        if len(body) <= PIECE_BYTES
        else (body[start : start + PIECE_BYTES] for start in range(0, len(body), PIECE_BYTES))
    )


class Alive(msgspec.Struct, frozen=True):
    """This process answers."""

    status: Annotated[str, Meta(description="Always `alive`.")] = "alive"


class Ready(msgspec.Struct, frozen=True):
    """Redis and the broker answer, and a worker was seen."""

    status: Annotated[str, Meta(description="Always `ready`.")] = "ready"
    store_epoch: Annotated[
        str | None,
        Meta(
            description="Since when the store has kept its data: a time and a random part. Another one than before: it "
            "has lost what it held. Null if it may not be asked."
        ),
    ] = None
    warnings: Annotated[
        Sequence[str], Meta(description="What an operator should know, though the service works; empty on a good day.")
    ] = ()


class IssuedToken(msgspec.Struct, frozen=True):
    """A token that is good for one task."""

    token: Annotated[str, Meta(description="Send it as `Authorization: Bearer`, or as `?access_token=` to `/events`.")]
    scopes: Annotated[list[TokenScope], Meta(description="What it is good for.")]
    expires_at: Annotated[datetime, Meta(tz=True, description="From when on it does not count any more.")]


class TaskList(msgspec.Struct, frozen=True, kw_only=True):
    """Some tasks: one page of a list, newest first, or those that were asked for by id."""

    items: Annotated[list[TaskStatus], Meta(description="The statuses; a page may hold fewer than `limit`.")]
    next_cursor: Annotated[str | None, Meta(description="`cursor` of the next page; null after the last one.")]
    missing: Annotated[list[str], Meta(description="Ids that were asked for and of which nothing is stored.")]

    @classmethod
    def of(cls, page: TaskPage) -> "TaskList":
        """Make the answer of a page."""
        next_cursor = None if page.next is None else to_cursor(page.next)
        # Encoded already.
        items = cast("list[TaskStatus]", [msgspec.Raw(decoded.body) for decoded in page.items])
        return cls(items=items, next_cursor=next_cursor, missing=page.missing)


class TaskType(msgspec.Struct, frozen=True, kw_only=True):
    """A registered task name, and what it takes."""

    name: Annotated[str, Meta(description="The registered name, as `name` of a submission.")]
    doc: Annotated[str | None, Meta(description="Its docstring.")]
    queue: Annotated[
        str | None, Meta(description="Where it goes unless a submission says otherwise; null if no worker has said.")
    ]
    workers: Annotated[
        int, Meta(description="How many live workers serve it: they know it, and read its queue. Zero: it would wait.")
    ]
    ignores_result: Annotated[bool, Meta(description="What it returns is not kept.")]
    arguments: Annotated[
        dict[str, Any],
        Meta(
            description="JSON Schema (2020-12) of all arguments by name, with their defaults.",
            # Without it TypeScript has an object without properties.
            extra_json_schema={"additionalProperties": True},
        ),
    ]
    positional: Annotated[list[str], Meta(description="The arguments that may be given by position, in their order.")]
    positional_only: Annotated[
        int, Meta(description="How many of these, from the first, may be given by position only.")
    ]
    var_positional: Annotated[bool, Meta(description="Whether more may be given by position than are named.")]

    @classmethod
    def of(cls, offer: AvailableTaskType) -> "TaskType":
        """Make the answer of an offer."""
        announced = offer.task_type
        arguments = msgspec.json.decode(announced.arguments)
        return cls(
            name=announced.name,
            doc=announced.doc,
            queue=announced.queue,
            workers=offer.workers,
            ignores_result=announced.ignore_result,
            # Any other schema that is none, or takes anything, says no more than this one.
            arguments=arguments if isinstance(arguments, dict) else {"type": "object"},
            positional=announced.positional,
            positional_only=announced.positional_only,
            var_positional=bytes(announced.var_positional) != b"false",
        )


class TaskTypeList(msgspec.Struct, frozen=True):
    """The task types that may be submitted, by name."""

    items: Annotated[list[TaskType], Meta(description="All of them: there are no pages.")]

    @classmethod
    def of(cls, offers: Sequence[AvailableTaskType]) -> "TaskTypeList":
        """Make the answer of all offers."""
        return cls([TaskType.of(offer) for offer in offers])


def json_response(body: Any, status: int = 200, headers: Headers = ()) -> Response:
    """Encode anything that msgspec can."""
    return Response(_encode(body), status, [*headers, JSON])


def list_response(page: TaskPage) -> Response:
    """Answer some tasks; what they are may change at any time."""
    response = json_response(TaskList.of(page))
    response.headers["Cache-Control"] = LIVE
    return response


def answer_of(body: bytes, headers: Headers) -> Answer:
    """Answer JSON that is encoded already."""
    return Answer(http.HTTPStatus.OK, [*headers, JSON, ("Content-Length", str(len(body)))], body)


def result_answer(result: Any) -> Answer:
    """Answer a result; it will not change."""
    return answer_of(_encode(result), [("Cache-Control", KEPT)])
