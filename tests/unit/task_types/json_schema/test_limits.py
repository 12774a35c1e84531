"""A check ends after a limited number of steps for any schema and value, and a step is a limited amount of work."""

import functools
import json
import sys
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.json_schemas import CASES
from task_status_service.task_types.json_schema import MAX_STEPS, Check, InvalidSchema, TooExpensive, compile_schema
from task_status_service.task_types.json_schema.check import MAX_PATTERN_STEPS, problems_of
from task_status_worker.record.announcement import MAX_SCHEMA_BYTES

#: the limit of faults in one response (arguments.py)
FAULTS = 20


def checked(schema: Any, value: Any) -> Check:
    """Check a value as `check_arguments` does; return the finished check."""
    check = Check()
    found = problems_of(compile_schema(json.dumps(schema).encode()), value, check)
    try:
        for _ in range(FAULTS):
            if next(found, None) is None:
                break
    except TooExpensive:
        assert check.steps > MAX_STEPS
    return check


def tower(apply: Any, leaf: Any, levels: int = 40) -> Any:
    """Return a chain of schemas that each apply the next one twice."""
    chain = {f"d{level}": apply({"$ref": f"#/$defs/d{level + 1}"}) for level in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**chain, f"d{levels}": leaf}}


TOWERS = {
    "allOf": lambda ref: {"allOf": [ref, ref]},
    "anyOf": lambda ref: {"anyOf": [ref, ref]},
    "oneOf": lambda ref: {"oneOf": [ref, ref]},
    "not": lambda ref: {"allOf": [{"not": ref}, {"not": ref}]},
    "if": lambda ref: {"if": ref, "then": ref, "else": ref},
    "dependentSchemas": lambda ref: {"dependentSchemas": {"a": ref, "b": ref}},
    "references": lambda ref: {**ref, "allOf": [ref]},
    "dynamic references": lambda ref: {**ref, "$dynamicRef": ref["$ref"]},
    "unevaluated": lambda ref: {"unevaluatedItems": False, "unevaluatedProperties": False, **ref, "anyOf": [ref]},
    "properties": lambda ref: {"properties": {"a": ref}, "additionalProperties": ref, "allOf": [ref]},
}
LEAVES = {"true": True, "false": False, "type": {"type": "object"}, "skipped": {"format": "date"}}


@pytest.mark.parametrize("leaf", LEAVES)
@pytest.mark.parametrize("kind", TOWERS)
def test_a_chain_of_references_takes_linear_time(kind, leaf):
    """Schemas that each name the next one twice, forty times, take some thousand steps and not 2⁴⁰."""
    assert checked(tower(TOWERS[kind], LEAVES[leaf]), {"a": 1, "b": [2]}).steps < 10_000


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"allOf": [{"$ref": "#"}, {"$ref": "#/allOf/0"}], "type": "array"}])
def test_a_schema_may_contain_itself(schema):
    """A schema that applies itself to the same value ends."""
    assert checked(schema, 1).steps < 100


def nested(keyword: str, levels: int) -> Any:
    """Return a schema within a schema, many times."""
    return functools.reduce(lambda inner, _: {keyword: inner}, range(levels), {"type": "string"})


@pytest.mark.parametrize("keyword", ["not", "items", "if", "contains"])
def test_deep_schemas_are_skipped(keyword):
    """Schemas in more levels than Python's stack has are not applied."""
    assert checked(nested(keyword, 400), 1).steps < 2_000


def test_a_long_chain_of_references_is_skipped():
    """A chain of references that is longer than Python's stack is not followed to its end."""
    chain = {str(step): {"$ref": f"#/$defs/{step + 1}"} for step in range(1_500)}
    assert checked({"$ref": "#/$defs/0", "$defs": chain}, 1).steps < 2_000


NUMBERS = list(range(9_900))
#: schemas of almost `MAX_SCHEMA_BYTES`, and values of almost a megabyte or ten thousand values
LARGE = {
    "contains": ({"allOf": [{"contains": {"type": "string"}}] * 1_900}, NUMBERS),
    "minContains": ({"contains": {"type": "string"}, "minContains": 9_901, "maxContains": 9_902}, NUMBERS),
    "uniqueItems": (
        {"allOf": [{"uniqueItems": True}] * 2_800},
        ["x" * 100 + str(number) for number in NUMBERS[:8_000]],
    ),
    "unique objects": ({"uniqueItems": True}, [{"a": number} for number in range(4_900)]),
    "unique in each level": (
        {"$ref": "#/$defs/U", "$defs": {"U": {"uniqueItems": True, "items": {"$ref": "#/$defs/U"}}}},
        functools.reduce(lambda inner, _: [inner], range(28), ["x" * 100] * 9_000),
    ),
    "enum of numbers": ({"items": {"enum": NUMBERS}}, [number + 0.5 for number in NUMBERS]),
    "enum of texts": ({"items": {"enum": [f"v{number}" for number in range(6_000)]}}, [f"w{n}" for n in NUMBERS]),
    "enum of objects": ({"items": {"enum": [{"a": [n]} for n in range(4_000)]}}, [{"a": [n]} for n in range(3_000)]),
    "const": ({"anyOf": [{"items": {"const": NUMBERS[:9_000]}}]}, [NUMBERS[:9_000]] * 2),
    "names": ({"propertyNames": {"pattern": "^a*a*$"}}, {"a" * 100 + str(number): 1 for number in NUMBERS[:9_000]}),
    "pattern": ({"items": {"pattern": "^a*a*$"}}, ["a" * 999 + "!"] * 1_000),
    "patterns": ({"allOf": [{"pattern": f"^a*a*{n}$"} for n in range(2_200)]}, "a" * 999 + "!"),
    "long pattern": ({"pattern": "^" + "[^a-c]" * 10_000}, "a"),
    "required": ({"not": {"items": {"required": [str(n) for n in range(7_000)]}}}, [{}] * 9_900),
    "properties": ({"items": {"properties": {str(n): {} for n in range(5_000)}}}, [{}] * 9_900),
    "additionalProperties": ({"allOf": [{"additionalProperties": {}}] * 2_000}, {str(n): 1 for n in NUMBERS}),
    "dependentRequired": ({"items": {"dependentRequired": {str(n): [] for n in range(5_000)}}}, [{}] * 9_900),
    "references": (
        {
            "allOf": [{"$ref": f"#/$defs/{n}"} for n in range(900)],
            "$defs": {str(n): {"items": {"minimum": n}} for n in range(900)},
        },
        NUMBERS[1_000:],
    ),
    "multipleOf": ({"items": {"allOf": [{"multipleOf": 0.1}] * 2_500}}, [n / 10 for n in NUMBERS]),
    "large numbers": ({"items": {"allOf": [{"maximum": 10**300}] * 150}}, [2**64 - 1] * 9_900),
    "formats": ({"items": {"oneOf": [{"format": "date"}] * 3_000}}, ["x"] * 9_900),
    "faults": ({"properties": {str(n): False for n in range(4_000)}}, {str(n): 1 for n in range(4_000)}),
    "empty schemas": ({"allOf": [{}] * 14_000}, 1),
    "long names": ({"items": {"required": ["x" * 60_000]}}, [{}] * 9_900),
}


@pytest.mark.parametrize("case", LARGE)
def test_the_largest_schemas_and_values_end(case):
    """The largest schema and the largest value of a request take about a tenth of a second."""
    schema, value = LARGE[case]
    document = json.dumps(schema, separators=(",", ":")).encode()
    assert len(document) <= MAX_SCHEMA_BYTES
    started = time.process_time()
    checked(schema, value)
    # A watchdog: ten times as long as measured, because the machine of the tests may be busy.
    assert time.process_time() - started < 1.5


def calls_of(work: Any) -> int:
    """Return how many functions, also of C, some work calls."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return calls


@given(CASES)
@settings(max_examples=500, deadline=None)
def test_steps_count_the_work(case):
    """For any schema and value, a step calls at most a few functions, so the limit of steps limits the work."""
    document, value = case
    schema = compile_schema(json.dumps(document).encode())
    check = Check()

    def work() -> None:
        for number, _ in enumerate(problems_of(schema, value, check)):
            if number == FAULTS:
                return

    calls = calls_of(work)
    assert calls <= 40 * (check.steps + FAULTS), (calls, check.steps)
    assert check.steps <= MAX_STEPS + 1_000
    assert check.pattern_steps <= MAX_PATTERN_STEPS


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text() | st.sampled_from(["type", "$ref", "items"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(JSON, JSON)
def test_any_json_is_a_schema_or_invalid(document, value):
    """A document is either compiled, and then any value can be checked, or `InvalidSchema` is raised."""
    try:
        checked(document, value)
    except InvalidSchema:
        return


@pytest.mark.parametrize(
    "document", [b"", b"{", b"\xff", b'"\xff"', b"[" * 100_000, b'{"enum":' + b"[" * 100_000, b"9" * 9_999]
)
def test_other_bytes_are_invalid(document):
    """Bytes that are not JSON, or are nested too deeply, are an invalid schema."""
    with pytest.raises(InvalidSchema):
        compile_schema(document)
