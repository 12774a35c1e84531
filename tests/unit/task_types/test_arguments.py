"""The check of arguments against the announced schema."""

import contextlib
import dataclasses
import functools
import inspect
import json
from typing import Any

import kombu.utils.json
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.errors import InvalidArguments
from task_status_service.task_types.arguments import MAX_FAULTS, check_arguments
from task_status_service.task_types.json_schema import MAX_STEPS
from task_status_worker.record.announcement import MAX_SCHEMA_BYTES, TaskType
from task_status_worker.task_types import describe_arguments

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def raw(value: Any) -> msgspec.Raw:
    """Return a value as encoded JSON."""
    return msgspec.Raw(json.dumps(value).encode())


def task_type(schema: Any, positional: list[str], *, positional_only: int = 0, var_positional: Any = False) -> TaskType:
    """Return a task type with these schemas."""
    return TaskType(
        "t",
        arguments=raw(schema),
        positional=positional,
        positional_only=positional_only,
        var_positional=raw(var_positional),
    )


def announced(function: Any) -> TaskType:
    """Return the task type that a worker announces for a function."""
    return msgspec.json.decode(
        msgspec.json.encode({"name": "t"} | msgspec.to_builtins(describe_arguments(function))), type=TaskType
    )


def pointers_of(task_type: TaskType, *args: Any, **kwargs: Any) -> list[str | None]:
    """Return the pointers of the faults of some arguments."""
    try:
        check_arguments(task_type, list(args), kwargs)
    except InvalidArguments as error:
        return [fault.pointer for fault in error.faults]
    return []


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
def test_valid_arguments_are_accepted(args, kwargs):
    """Arguments may be passed by position, by name, or both."""
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
def test_each_fault_has_a_pointer(args, kwargs, pointers):
    """Each pointer refers to the request body."""
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(PAY, args, kwargs)

    assert [fault.pointer for fault in raised.value.faults] == pointers


ENVELOPE = {"__type__": "uuid", "__value__": {"hex": "a" * 32}}


@pytest.mark.parametrize(
    ("args", "kwargs", "pointers"),
    [
        ([ENVELOPE], {}, ["#/args/0"]),
        ([1, [{"a": [ENVELOPE]}]], {}, ["#/args/1/0/a/0"]),
        ([], {"x": {"__type__": "no such type", "__value__": 1}}, ["#/kwargs/x"]),
        ([], ENVELOPE, ["#/kwargs"]),
    ],
)
def test_values_that_celery_would_replace_are_rejected(args, kwargs, pointers):
    """An object that kombu would decode to another value is rejected, also for a task type without a schema."""
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(TaskType("any.task"), args, kwargs)
    assert [fault.pointer for fault in raised.value.faults] == pointers


_KEYS = st.sampled_from(["__type__", "__value__", "a", "uuid"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
)


@given(args=st.lists(_VALUES, max_size=3), kwargs=st.dictionaries(_KEYS, _VALUES, max_size=3))
def test_celery_decodes_accepted_arguments_unchanged(args, kwargs):
    """A worker receives the accepted arguments as they were submitted."""
    with contextlib.suppress(InvalidArguments):
        check_arguments(TaskType("any.task"), args, kwargs)
        assert kombu.utils.json.loads(kombu.utils.json.dumps([args, kwargs])) == [args, kwargs]


def test_the_number_of_faults_is_limited():
    """An error lists at most `MAX_FAULTS` faults."""
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(PAY, [3, [{}] * 1_000], {})

    assert len(raised.value.faults) == MAX_FAULTS


def test_var_positional_accepts_more_arguments():
    """A function with `*args` accepts more positional arguments than it names."""
    check_arguments(
        task_type({"properties": {"first": {"type": "string"}}}, ["first"], var_positional=True), ["a", 2, 3], {}
    )


def test_var_positional_arguments_are_checked():
    """The schema of `*args` applies to each of them, and may refer to `$defs` of the named arguments."""
    schema = {"properties": {"first": {"type": "string"}}, "$defs": {"Line": {"required": ["sku"]}}}
    lines = task_type(schema, ["first"], var_positional={"type": "object", "$ref": "#/$defs/Line"})

    assert pointers_of(lines, "a") == []
    assert pointers_of(lines, "a", {"sku": "b"}) == []
    assert pointers_of(lines, "a", {"sku": "b"}, {}, 3) == ["#/args/2", "#/args/3"]


@pytest.mark.parametrize("var_positional", [3, None, {"type": "nonsense"}, {"$ref": "#/$defs/None"}, "text"])
def test_an_invalid_schema_of_var_positional_accepts_anything(var_positional):
    """An invalid schema of `*args` accepts any arguments, like one of named arguments."""
    for schema in (True, {}, {"$defs": 3}):
        check_arguments(task_type(schema, [], var_positional=var_positional), [1, 2], {})


def test_positional_only_arguments_are_rejected_by_name():
    """A positional-only argument is rejected by name, as in Python."""
    schema = {"properties": {"a": {}, "b": {}}, "additionalProperties": False}
    assert pointers_of(task_type(schema, ["a", "b"], positional_only=1), a=1, b=2) == ["#/kwargs/a"]
    assert pointers_of(task_type(schema, ["a", "b"], positional_only=1), 1, b=2) == []


@dataclasses.dataclass
class Address:
    """An address."""

    street: str
    number: int = 1


class Customer(pydantic.BaseModel):
    """A customer."""

    name: str = pydantic.Field(min_length=1)
    address: Address


def order(customer: Customer, *lines: Address, express: bool = False, **notes: str) -> None:
    """Accept each kind of parameter."""


ADA = {"name": "Ada", "address": {"street": "S"}}


@pytest.mark.parametrize(
    ("args", "kwargs", "pointers"),
    [
        ([ADA], {}, []),
        ([], {"customer": ADA, "express": True, "any": "note"}, []),
        ([ADA, {"street": "T"}, {"street": "U", "number": 2}], {}, []),
        ([{"name": "", "address": {"street": 3}}], {}, ["#/args/0/address/street", "#/args/0/name"]),
        ([ADA, {"street": "T"}, {"number": 2}], {}, ["#/args/2"]),
        ([ADA], {"express": "yes", "any": 3}, ["#/kwargs/any", "#/kwargs/express"]),
        ([], {}, ["#/kwargs"]),
        ([ADA], {"customer": ADA}, ["#/kwargs/customer"]),
    ],
)
def test_an_announced_signature_is_checked(args, kwargs, pointers):
    """Dataclasses, pydantic models, defaults, `*args` and `**kwargs` of a signature are checked."""
    assert sorted(pointers_of(announced(order), *args, **kwargs)) == pointers


@given(
    st.lists(st.integers() | st.text(max_size=1), max_size=4), st.dictionaries(st.sampled_from("abcde"), st.integers())
)
def test_arguments_are_accepted_as_in_python(args, kwargs):
    """Without hints, arguments are accepted if and only if the function can be called with them."""

    def plain(a, /, b, c=3, *, d=4): ...

    def variadic(a, b=2, *rest, **others): ...

    for function in (plain, variadic):
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError:
            assert pointers_of(announced(function), *args, **kwargs)
        else:
            assert not pointers_of(announced(function), *args, **kwargs)


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
def test_an_invalid_schema_accepts_anything(schema):
    """A type with an invalid schema accepts any arguments, because announcements are untrusted."""
    check_arguments(task_type(schema, ["a"]), ["text"], {})


def test_an_invalid_schema_is_logged_once(caplog):
    """One warning names a task type with an invalid schema, because its arguments are not checked."""
    broken = msgspec.structs.replace(task_type({"type": "nonsense"}, ["a"]), name="shop.broken")
    for _ in range(2):
        check_arguments(broken, ["text"], {})
    (record,) = caplog.records
    assert "shop.broken" in record.getMessage()


TREE = {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Tree"}}] * 2 + [{"type": "number"}]}


def test_repeated_alternatives_are_checked_completely():
    """A value that each alternative checks again is rejected for its fault, and not for the time of its check."""
    tree = functools.reduce(lambda tree, _: [tree], range(29), "leaf")
    schema = {"properties": {"a": {"$ref": "#/$defs/Tree"}}, "$defs": {"Tree": TREE}}
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(task_type(schema, ["a"]), [tree], {})
    (fault,) = raised.value.faults
    assert "not valid under any" in fault.detail


def test_an_unfinished_check_rejects_the_arguments(caplog):
    """Arguments are rejected if their check takes too many steps; one warning names the task type."""
    schema = {"properties": {"a": {"items": {"enum": list(range(MAX_STEPS // 100))}}}}
    slow = msgspec.structs.replace(task_type(schema, ["a"]), name="shop.slow")
    for _ in range(2):
        with pytest.raises(InvalidArguments) as raised:
            check_arguments(slow, [[MAX_STEPS // 100 - 1] * 200], {})
        assert "too many steps" in raised.value.faults[-1].detail
    (record,) = caplog.records
    assert "shop.slow" in record.getMessage()


def test_few_arguments_never_take_too_many_steps():
    """A task with the longest schema of costly keywords stays available: its check of a few values is complete."""
    checks = [{"not": {"items": {"enum": [number]}}} for number in range(1_700)]
    schema = {"properties": {"a": {"allOf": checks}}}
    assert 60_000 < len(json.dumps(schema)) < MAX_SCHEMA_BYTES
    check_arguments(task_type(schema, ["a"]), [["a", "b", "c", "d"]], {})


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"uniqueItems": True}, [1, "1", [1], {"a": 1, "b": 2}, True, None], [{"a": 1, "b": 2}, {"b": 2, "a": 1}]),
        ({"uniqueItems": False}, [1, 1], None),
        ({"multipleOf": 0.1}, 0.3, 0.35),
        ({"pattern": r"^[A-Z]{3}-\d{4}$"}, "ABC-1234", "ABC-12345"),
        ({"pattern": r"^[^@\s]+@[^@]+$"}, "a@b", "a b@c"),
        ({"pattern": r"^\w+\.\w*"}, "a.b", "a,b"),
        ({"additionalProperties": False}, {}, {"b": 1}),
        ({"additionalProperties": {"type": "integer"}}, {"b": 1}, {"b": "1"}),
        ({"propertyNames": {"pattern": "^a"}}, {"ab": 1}, {"ba": 1}),
    ],
)
def test_quick_keywords_are_checked(schema, good, bad):
    """Keywords that cannot take long are still checked."""
    checked = task_type({"properties": {"a": schema}}, ["a"])
    check_arguments(checked, [good], {})
    if bad is not None:
        with pytest.raises(InvalidArguments):
            check_arguments(checked, [bad], {})


@given(st.lists(JSON, max_size=4), st.dictionaries(st.text(), JSON, max_size=4), JSON)
def test_the_check_raises_no_other_error(args, kwargs, schema):
    """For any arguments and any schema, the check passes or raises `InvalidArguments`."""
    for checked in (PAY, task_type(schema, ["a", "b"], var_positional=schema)):
        with contextlib.suppress(InvalidArguments):
            check_arguments(checked, args, kwargs)


@pytest.mark.parametrize(
    ("schema", "value", "detail"),
    [
        ({"type": "integer"}, "kanarienvogel", "This value is not of type 'integer'"),
        ({"enum": ["a", "b"]}, "kanarienvogel", "This value is not one of ['a', 'b']"),
        ({"maxLength": 3}, "kanarienvogel", "This value is too long"),
        ({"minItems": 2}, ["kanarienvogel"], "This value has too few items (at least 2)"),
        ({"items": False}, ["kanarienvogel"], "This value is not allowed"),
        ({"contains": {"type": "integer"}}, ["kanarienvogel"], "This value contains fewer than 1 of the wanted items"),
        ({"pattern": "^[a-j]*$"}, "kanarienvogel", "This value does not match '^[a-j]*$'"),
        ({"const": 1}, "kanarienvogel", "This value is not 1"),
        ({"required": ["a"]}, {"b": "kanarienvogel"}, "'a' is a required property"),
        ({"additionalProperties": False}, {"b": "kanarienvogel"}, "Additional properties are not allowed ('b' was"),
    ],
)
def test_messages_do_not_quote_values(schema, value, detail):
    """A message does not contain the value, because responses may be logged."""
    arguments = {"type": "object", "properties": {"x": schema}}
    with pytest.raises(InvalidArguments) as raised:
        check_arguments(TaskType(name="t", arguments=msgspec.Raw(json.dumps(arguments).encode())), [], {"x": value})

    (fault,) = raised.value.faults
    assert fault.detail.startswith(detail)
    assert "kanarienvogel" not in fault.detail
