"""Task types as they are announced: from signatures to JSON Schema."""

import dataclasses
import enum
from datetime import datetime
from typing import Annotated, Any, Literal, Union

import msgspec
import pydantic
import pytest
from celery import Celery, Task
from task_status_worker.announce import announcements, describe_arguments


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
    """Says nothing to JSON Schema."""


def properties(function: Any) -> dict[str, Any]:
    """Give the properties of the arguments."""
    return dict(describe_arguments(function)[0]["properties"])


def test_names_hints_and_defaults() -> None:
    """One property per parameter; those without a default are required."""

    def task(x: int, y: float = 0.5, *, when: datetime | None = None, **_: Any) -> None: ...

    schema, positional, var_positional = describe_arguments(task)
    assert schema == {
        "type": "object",
        "properties": {
            "x": {"type": "integer"},
            "y": {"type": "number", "default": 0.5},
            "when": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        },
        "required": ["x"],
        "additionalProperties": True,
    }
    assert (positional, var_positional) == (["x", "y"], False)


def test_positional_only_and_var_positional() -> None:
    """The service has to know what may be given without a name."""

    def task(a: int, /, b: int, *rest: int, c: int) -> None: ...

    schema, positional, var_positional = describe_arguments(task)
    assert (positional, var_positional) == (["a", "b"], True)
    assert (schema["required"], schema["additionalProperties"]) == (["a", "b", "c"], False)


def test_rich_hints() -> None:
    """Unions, literals, enums, annotated bounds, dataclasses: as msgspec describes them, self-contained."""

    def task(
        u: Union[int, str],  # noqa: UP007  # as older code writes it
        lit: Literal["a", "b"],
        color: Color,
        bounded: Annotated[int, msgspec.Meta(ge=1)],
        point: Point,
    ) -> None: ...

    schema, _, _ = describe_arguments(task)
    assert schema["properties"]["u"] == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schema["properties"]["lit"] == {"enum": ["a", "b"]}
    assert schema["properties"]["bounded"] == {"type": "integer", "minimum": 1}
    assert schema["properties"]["point"] == {"$ref": "#/$defs/Point"}
    assert schema["$defs"]["Color"]["enum"] == ["red"]
    assert schema["$defs"]["Point"]["properties"]["x"] == {"type": "integer"}


def test_what_says_nothing_allows_anything() -> None:
    """No hint, a hint that cannot be resolved, and a class that is no data."""

    def task(bare, gone: "NoSuchName", opaque: Opaque, known: int, text: "str") -> None: ...  # noqa: F821  # the point

    assert properties(task) == {
        "bare": {},
        "gone": {},
        "opaque": {},
        "known": {"type": "integer"},
        "text": {"type": "string"},
    }


def test_a_default_that_json_cannot_hold_is_left_out() -> None:
    """The parameter stays optional."""

    def task(x: Any = Opaque(), color: Color = Color.RED) -> None: ...  # noqa: B008  # the point

    schema, _, _ = describe_arguments(task)
    assert schema["properties"]["x"] == {}
    assert schema["properties"]["color"]["default"] == "red"
    assert schema["required"] == []


def test_pydantic_models() -> None:
    """Described by pydantic, also inside another hint, with what they refer to."""

    def task(order: Order, more: list[Order] | None = None) -> None: ...

    schema, _, _ = describe_arguments(task)
    assert schema["properties"]["order"]["properties"]["lines"]["items"] == {"$ref": "#/$defs/Line"}
    assert schema["properties"]["more"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Order"}
    assert set(schema["$defs"]) == {"Line", "Order"}


def test_two_classes_of_one_name() -> None:
    """The second one allows anything rather than what the first one is."""
    other = dataclasses.make_dataclass("Point", [("z", str)])

    def task(a: Point, b: Any) -> None: ...

    task.__annotations__["b"] = other
    assert properties(task) == {"a": {"$ref": "#/$defs/Point"}, "b": {}}


@pytest.fixture
def app() -> Celery:
    """Give an app with one task of each kind."""
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
    """Every kind of task is described by what its author wrote; Celery's own are not."""
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
    """An announcement is not the place to fail for it."""

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError

    app.conf.task_routes = (broken,)
    del app.amqp.router
    announced = msgspec.json.decode(announcements(app, now=7)["bound"])
    assert announced["queue"] == "celery"


def test_one_that_cannot_be_described_does_not_hide_the_others(app: Celery, caplog: pytest.LogCaptureFixture) -> None:
    """A task whose body has no signature is left out, and said to be."""
    app.tasks["bound"].run = 7
    assert set(announcements(app, now=7)) == {"retrying", "validated", "by-class"}
    assert "cannot announce the task type bound" in caplog.text
