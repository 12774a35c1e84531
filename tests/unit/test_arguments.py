"""Arguments against the announced schema: pointers into the body, and no harm from a wrong schema."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.arguments import MAX_FAULTS, check_arguments
from task_status_service.catalog import TaskType
from task_status_service.errors import InvalidArguments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def task_type(schema: Any, positional: list[str], *, var_positional: bool = False) -> TaskType:
    """Make a task type of a schema."""
    arguments = msgspec.Raw(json.dumps(schema).encode())
    return TaskType("t", arguments=arguments, positional=positional, var_positional=var_positional)


PAY = task_type(
    {
        "type": "object",
        "properties": {"amount": {"type": "integer"}, "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}}},
        "required": ["amount"],
        "additionalProperties": False,
        "$defs": {"Line": {"type": "object", "required": ["sku"]}},
    },
    ["amount", "lines"],
)


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [([3], {}), ([], {"amount": 3}), ([3, [{"sku": "a"}]], {}), ([3], {"lines": []})],
)
def test_fits(args, kwargs):
    """By position, by name, or both."""
    check_arguments(PAY, args, kwargs)


@pytest.mark.parametrize(
    ("args", "kwargs", "pointers"),
    [
        (["3"], {}, ["#/args/0"]),
        ([3, [{"sku": "a"}, {}]], {}, ["#/args/1/1"]),
        ([3], {"lines": [{}]}, ["#/kwargs/lines/0"]),
        ([], {}, ["#/kwargs"]),
        ([3], {"amount": 3}, ["#/kwargs/amount"]),
        ([3, [], 5], {}, ["#/args"]),
        ([3], {"a/b~c": 1}, ["#/kwargs"]),
    ],
)
def test_points_at_what_does_not_fit(args, kwargs, pointers):
    """Each fault points into the body as it was sent."""
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(PAY, args, kwargs)

    assert [fault.pointer for fault in raised.value.faults] == pointers


def test_lists_a_few_faults():
    """A thousand faults are not a thousand lines."""
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(PAY, [3, [{}] * 1_000], {})

    assert len(raised.value.faults) == MAX_FAULTS


def test_more_by_position():
    """A type that takes more arguments than it names gets them."""
    check_arguments(
        task_type({"properties": {"first": {"type": "string"}}}, ["first"], var_positional=True), ["a", 2, 3], {}
    )


@pytest.mark.parametrize(
    "schema",
    [
        3,
        None,
        {"type": "nonsense"},
        {"$ref": "http://example.invalid/schema"},
        {"properties": {"a": {"pattern": "("}}},
        {"$ref": "#"},
    ],
)
def test_a_wrong_schema_refuses_nothing(schema):
    """Announcements are untrusted: a schema that cannot be used is no reason to refuse, or to fail."""
    check_arguments(task_type(schema, ["a"]), ["text"], {})


@given(st.lists(JSON, max_size=4), st.dictionaries(st.text(), JSON, max_size=4), JSON)
def test_never_anything_else(args, kwargs, schema):
    """Whatever is sent and whatever is announced: it fits, or it is said what does not."""
    for checked in (PAY, task_type(schema, ["a", "b"])):
        with contextlib.suppress(InvalidArguments):
            check_arguments(checked, args, kwargs)


@pytest.mark.parametrize(
    ("schema", "value", "detail"),
    [
        ({"type": "integer"}, "kanarienvogel", "This value is not of type 'integer'"),
        ({"enum": ["a", "b"]}, "kanarienvogel", "This value is not one of ['a', 'b']"),
        ({"maxLength": 3}, "kanarienvogel", "This value is too long"),
        ({"minItems": 2}, ["kanarienvogel"], "This value is too short"),
        ({"items": False}, ["kanarienvogel"], "This value does not fit `items` of the task's arguments."),
        ({"unevaluatedItems": False}, ["kanarienvogel"], "This value does not fit `unevaluatedItems`"),
        ({"required": ["a"]}, {"b": "kanarienvogel"}, "'a' is a required property"),
        ({"additionalProperties": False}, {"b": "kanarienvogel"}, "Additional properties are not allowed ('b' was"),
    ],
)
def test_value_is_not_quoted(schema, value, detail):
    """Whoever sent it has it, and an answer may be logged by whoever gets it."""
    arguments = {"type": "object", "properties": {"x": schema}}
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(TaskType(name="t", arguments=msgspec.Raw(json.dumps(arguments).encode())), [], {"x": value})

    (fault,) = raised.value.faults
    assert fault.detail.startswith(detail)
    assert "kanarienvogel" not in fault.detail
