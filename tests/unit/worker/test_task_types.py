"""Announcements of task types: JSON Schema from signatures."""

import dataclasses
import enum
import functools
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec
import pydantic
import pytest
from celery import Celery, Task
from jsonschema import Draft202012Validator
from task_status_worker.record.announcement import (
    MAX_CONSUMER_BYTES,
    MAX_PARAMETERS,
    MAX_QUEUES,
    MAX_SCHEMA_LEVELS,
    MAX_TASK_TYPE_BYTES,
    MAX_TASK_TYPES,
)
from task_status_worker.task_types import MAX_DOC, _warn_once, announcements, consumer, describe_arguments


class Color(enum.Enum):
    """An enum of texts."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    y: int = 0


class Order(pydantic.BaseModel):
    """A pydantic model with another inside."""

    item: str
    lines: list["Line"] = []


class Line(pydantic.BaseModel):
    """A part of an order."""

    n: int


class Opaque:
    """A class without a JSON Schema."""


def properties(function: Any) -> dict[str, Any]:
    """Return the properties of the arguments."""
    return dict(describe_arguments(function).arguments["properties"])


def test_names_hints_and_defaults() -> None:
    """Each parameter becomes a property; those without a default are required."""

    def task(x: int, y: float = 0.5, *, when: datetime | None = None, **_: Any) -> None: ...

    signature = describe_arguments(task)
    assert signature.arguments == {
        "type": "object",
        "properties": {
            "x": {"type": "integer"},
            "y": {"type": "number", "default": 0.5},
            "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["x"],
        "additionalProperties": True,
    }
    assert (signature.positional, signature.positional_only, signature.var_positional) == (["x", "y"], 0, False)


def test_positional_only_and_var_positional() -> None:
    """An announcement names the parameters that may be passed by position."""

    def task(a: int, /, b: int, *rest: int, c: int) -> None: ...

    signature = describe_arguments(task)
    assert (signature.positional, signature.positional_only) == (["a", "b"], 1)
    assert signature.var_positional == {"type": "integer"}
    assert signature.arguments["required"] == ["a", "b", "c"]
    assert signature.arguments["additionalProperties"] is False


def test_any_number_of_arguments() -> None:
    """A hint of `*args` or `**kwargs` applies to each of them; without a hint they may be anything."""

    def bare(*args, **kwargs) -> None: ...

    def hinted(*args: Point, **kwargs: Point) -> None: ...

    signature = describe_arguments(bare)
    assert (signature.var_positional, signature.arguments["additionalProperties"]) == (True, True)
    signature = describe_arguments(hinted)
    assert signature.var_positional == signature.arguments["additionalProperties"] == {"$ref": "#/$defs/Point"}
    assert signature.arguments["properties"] == {}
    assert set(signature.arguments["$defs"]) == {"Point"}


def test_a_default_of_none_may_be_given() -> None:
    """`x: int = None` accepts null; a hint that accepts None already is not changed."""

    def task(x: int = None, y: int | None = None, z: None = None, anything=None) -> None: ...  # noqa: RUF013  # the point

    assert properties(task) == {
        "x": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "y": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "z": {"type": "null", "default": None},
        "anything": {"default": None},
    }


def test_a_schema_that_is_too_long_allows_anything() -> None:
    """A schema above the limit is dropped, because every service reads it every few seconds; the names stay."""
    huge = enum.Enum("Huge", {f"member_{number}": f"{number}" * 100 for number in range(1_000)})

    def task(x: int, y: Any) -> None: ...

    task.__annotations__["y"] = huge
    signature = describe_arguments(task)
    assert signature.arguments == {
        "type": "object",
        "properties": {"x": {}, "y": {}},
        "required": ["x", "y"],
        "additionalProperties": False,
    }


def test_rich_hints() -> None:
    """Unions, literals, enums, annotated bounds and dataclasses get msgspec's schema, with all definitions."""

    def task(
        u: Union[int, str],  # noqa: UP007  # as older code writes it
        lit: Literal["a", "b"],
        color: Color,
        bounded: Annotated[int, msgspec.Meta(ge=1)],
        point: Point,
    ) -> None: ...

    schema = describe_arguments(task).arguments
    assert schema["properties"]["u"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schema["properties"]["lit"] == {"enum": ["a", "b"]}
    assert schema["properties"]["bounded"] == {"type": "integer", "minimum": 1}
    assert schema["properties"]["point"] == {"$ref": "#/$defs/Point"}
    assert schema["$defs"]["Color"]["enum"] == ["red"]
    assert schema["$defs"]["Point"]["properties"]["x"] == {"type": "integer"}


def test_a_hint_without_a_schema_allows_anything() -> None:
    """A missing or unresolvable hint, or a class without a schema, allows anything."""

    def task(bare, gone: "NoSuchName", opaque: Opaque, known: int, text: "str") -> None: ...  # noqa: F821  # the point

    assert properties(task) == {
        "bare": {},
        "gone": {},
        "opaque": {},
        "known": {"type": "integer"},
        "text": {"type": "string"},
    }


def test_a_default_that_json_cannot_hold_is_left_out() -> None:
    """A parameter whose default has no JSON form stays optional."""

    def task(x: Any = Opaque(), color: Color = Color.RED) -> None: ...  # noqa: B008  # the point

    schema = describe_arguments(task).arguments
    assert schema["properties"]["x"] == {}
    assert schema["properties"]["color"]["default"] == "red"
    assert schema["required"] == []


def test_pydantic_models() -> None:
    """Pydantic describes its models, also within another hint, with their definitions."""

    def task(order: Order, more: list[Order] | None = None) -> None: ...

    schema = describe_arguments(task).arguments
    assert schema["properties"]["order"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
    assert schema["properties"]["more"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Order"}
    assert set(schema["$defs"]) == {"Line", "Order"}


def test_two_classes_of_one_name() -> None:
    """The second of two classes with one name is described in place or allows anything, but never as the first."""

    def task(a: Point, b: Any, c: Any) -> None: ...

    task.__annotations__["b"] = dataclasses.make_dataclass("Point", [("z", str)])
    task.__annotations__["c"] = msgspec.defstruct("Point", [("z", str)])
    described = properties(task)
    assert described["a"] == {"$ref": "#/$defs/Point"}
    assert described["b"]["required"] == ["z"]
    assert described["c"] == {}


def test_one_class_as_two_libraries_see_it() -> None:
    """A dataclass alone and the same one within a pydantic model are both described."""

    class Path(pydantic.BaseModel):
        points: list[Point]

    def task(path: Any, point: Point) -> None: ...

    task.__annotations__["path"] = Path
    described = properties(task)
    assert described["path"]["required"] == ["points"]
    assert described["point"]["required"] == ["x"]


@pytest.fixture
def app() -> Celery:
    """Return an app with one task of each kind."""
    app = Celery(set_as_current=False, broker="memory://")
    app.conf.task_routes = {"bound": "special"}

    @app.task(name="bound", bind=True, ignore_result=True, shared=False)
    def bound(self: Task, x: int) -> None:
        """Do one thing.

        And more of it.
        """

    @app.task(name="retrying", bind=True, autoretry_for=(ValueError,), shared=False)
    def retrying(self: Task, x: int) -> None: ...

    @app.task(name="validated", pydantic=True, shared=False)
    def validated(order: Order) -> None: ...

    class ByClass(Task):
        """A task of the old kind."""

        name = "by-class"

        def run(self, x: int) -> int:
            return x

    app.register_task(ByClass())
    return app


def test_announcements(app: Celery) -> None:
    """Every kind of task is announced by the function of its author; Celery's own tasks are not."""
    announced = {name: msgspec.json.decode(value) for name, value in announcements(app, now=7).items()}

    assert set(announced) == {"bound", "retrying", "validated", "by-class"}
    bound = announced["bound"]
    assert (bound["doc"], bound["queue"], bound["ignore_result"], bound["announced_at"]) == (
        "Do one thing.\n\nAnd more of it.",
        "special",
        True,
        7,
    )
    assert announced["retrying"]["doc"] is None
    assert announced["by-class"]["doc"] == "A task of the old kind."
    assert announced["by-class"]["queue"] == "celery"
    for name in ("bound", "retrying", "by-class"):
        assert announced[name]["positional"] == ["x"]
        assert announced[name]["arguments"]["properties"] == {"x": {"type": "integer"}}
    assert announced["validated"]["arguments"]["properties"]["order"]["title"] == "Order"


def test_a_router_that_raises_leaves_the_default_queue(app: Celery) -> None:
    """A router that raises does not prevent an announcement."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    app.conf.task_routes = (broken,)
    del app.amqp.router
    announced = msgspec.json.decode(announcements(app, now=7)["bound"])
    assert announced["queue"] == "celery"


def test_one_that_cannot_be_described_does_not_hide_the_others(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    """A task whose body has no signature is skipped and logged."""
    app.tasks["bound"].run = 7
    assert set(announcements(app, now=7)) == {"retrying", "validated", "by-class"}
    assert "Cannot announce the task type bound" in caplog.text


def test_a_long_docstring_is_cut(app: Celery) -> None:
    """A docstring above the limit is shortened, because it is for people."""
    app.tasks["bound"].run.__func__.__doc__ = "long " * 10_000
    assert len(msgspec.json.decode(announcements(app, now=7)["bound"])["doc"]) == MAX_DOC


def test_announces_a_consumer(app: Celery) -> None:
    """A consumer announces the task types that it knows and the queues that it reads at that time."""
    assert msgspec.json.decode(consumer(app, now=7)) == {
        "task_types": ["bound", "by-class", "retrying", "validated"],
        "queues": ["celery"],
        "announced_at": 7,
    }
    app.amqp.queues.select("special")
    assert msgspec.json.decode(consumer(app, now=7))["queues"] == ["special"]


def nothing() -> None:
    """Do nothing."""


def deep_hint(levels: int) -> Any:
    """Return a hint of lists within lists."""
    return functools.reduce(lambda inner, _: list[inner], range(levels), int)


LIMITED: dict[str, Any] = {
    "nested in more than": {"deep": deep_hint(MAX_SCHEMA_LEVELS)},
    "larger than": {"long": Literal[tuple(f"{number:05}" for number in range(10_000))]},
    "parameters": {f"parameter_{number}": int for number in range(MAX_PARAMETERS + 1)},
    "too long": {"x" * 9_000: int},
}


@pytest.mark.parametrize("reason", LIMITED)
def test_what_exceeds_a_limit_is_logged_once(app: Celery, caplog: pytest.LogCaptureFixture, reason: str) -> None:
    """A schema above a limit allows anything; one line in the log of the worker names the task type."""
    _warn_once.cache_clear()
    hints = LIMITED[reason]
    scope: dict[str, Any] = {}
    exec(f"def task({', '.join(hints)}): ...", scope)  # noqa: S102  # a function with many parameters
    scope["task"].__annotations__ = hints
    app.tasks["bound"].run = scope["task"]
    announced = [msgspec.json.decode(announcements(app, now=7)["bound"]) for _ in range(3)]

    (record,) = caplog.records
    assert "bound" in record.getMessage()
    assert reason in record.getMessage()
    assert len(msgspec.json.encode(announced[0])) < 10_000
    Draft202012Validator(announced[0]["arguments"]).validate(dict.fromkeys(hints, "anything"))


def test_a_schema_within_the_limits_is_complete(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    """Hints within all limits are described."""
    hints = {f"parameter_{number}": Point for number in range(MAX_PARAMETERS - 1)} | {"deep": deep_hint(50)}
    scope: dict[str, Any] = {}
    exec(f"def task({', '.join(hints)}): ...", scope)  # noqa: S102  # a function with many parameters
    scope["task"].__annotations__ = hints
    app.tasks["bound"].run = scope["task"]
    arguments = msgspec.json.decode(announcements(app, now=7)["bound"])["arguments"]
    assert arguments["properties"]["parameter_0"] == {"$ref": "#/$defs/Point"}
    assert arguments["properties"]["deep"]["type"] == "array"
    assert caplog.records == []


def test_the_number_of_task_types_is_limited(caplog: pytest.LogCaptureFixture) -> None:
    """Task types above the limit are not announced; one line names each."""
    _warn_once.cache_clear()
    app = Celery(set_as_current=False, broker="memory://")
    for number in range(MAX_TASK_TYPES + 2):
        app.task(name=f"t{number:05}", shared=False)(nothing)
    app.finalize()
    packed = announcements(app, now=7)
    known = msgspec.json.decode(consumer(app, now=7))["task_types"]
    assert list(packed) == known == [f"t{number:05}" for number in range(MAX_TASK_TYPES)]
    assert [record.args[0] for record in caplog.records] == ["t02000", "t02001"]


def test_an_announcement_fits(app: Celery) -> None:
    """An announcement is never larger than a service reads: a docstring of long characters is omitted."""
    app.tasks["bound"].run.__func__.__doc__ = "\U0001f600" * 20_000
    app.tasks["bound"].run.__func__.__annotations__["x"] = Literal[tuple(f"{number:05}" for number in range(5_000))]
    app.tasks["bound"].run.__func__.__kwdefaults__ = None
    announced = announcements(app, now=7)["bound"]
    assert len(announced) <= MAX_TASK_TYPE_BYTES
    assert msgspec.json.decode(announced)["arguments"]["properties"]["x"]["enum"]


def test_a_consumer_fits(app: Celery) -> None:
    """A consumer with very long names announces its queues, which permit submissions, and no task types."""
    for number in range(1_100):
        app.task(name=f"{number:05}" + "x" * 250, shared=False)(nothing)
    for number in range(MAX_QUEUES + 1):
        app.amqp.queues.select_add(f"q{number:03}")
    announced = consumer(app, now=7)
    assert len(announced) <= MAX_CONSUMER_BYTES
    decoded = msgspec.json.decode(announced)
    assert decoded["task_types"] == []
    assert len(decoded["queues"]) == MAX_QUEUES


def test_the_time_is_the_last_member(app: Celery) -> None:
    """The script that deletes old announcements finds their time at the end (redis_client.py)."""
    app.tasks["bound"].run.__func__.__doc__ = '"announced_at": 1'
    for packed in (announcements(app, now=7)["bound"], consumer(app, now=7)):
        assert packed.endswith(b'"announced_at":7}')
