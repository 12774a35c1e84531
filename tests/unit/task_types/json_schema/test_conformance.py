"""The check agrees with complete validators, except for the keywords that it skips."""

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from support.json_schemas import CASES
from task_status_service.task_types.json_schema import Check, InvalidSchema, compile_schema
from task_status_service.task_types.json_schema.check import Verdict


def verdict(document: Any, value: Any) -> Verdict:
    """Return the verdict of our check."""
    return Check().verdict(compile_schema(json.dumps(document).encode()), value)


@given(CASES)
@settings(max_examples=500, deadline=None)
def test_agrees_with_a_complete_validator(case):
    """A value is rejected only if it does not fit, and it fits if no keyword was skipped."""
    document, value = case
    ours = verdict(document, value)
    fits = jsonschema_rs.Draft202012Validator(document, validate_formats=False).is_valid(value)
    if ours is Verdict.INVALID:
        assert not fits
    if ours is Verdict.VALID:
        assert fits


BROKEN = [
    {"type": "text"},
    {"type": []},
    {"type": ["string", 3]},
    {"type": [["string"]]},
    {"enum": 3},
    {"minimum": "3"},
    {"minimum": True},
    {"multipleOf": 0},
    {"minLength": -1},
    {"maxItems": 1.5},
    {"uniqueItems": 1},
    {"pattern": 3},
    {"required": "a"},
    {"required": [1]},
    {"dependentRequired": {"a": "b"}},
    {"properties": []},
    {"properties": {"a": 3}},
    {"items": [{}]},
    {"prefixItems": {}},
    {"allOf": []},
    {"anyOf": [3]},
    {"not": None},
    {"$ref": 3},
    {"contains": {}, "minContains": "1"},
    {"if": {}, "then": 3},
    {"properties": {"a": {"items": {"not": {"type": 3}}}}},
]


@pytest.mark.parametrize("document", BROKEN, ids=json.dumps)
def test_an_invalid_keyword_makes_the_schema_invalid(document):
    """A keyword with an invalid value makes the whole schema invalid, as in jsonschema."""
    with pytest.raises(SchemaError):
        Draft202012Validator.check_schema(document)
    with pytest.raises(InvalidSchema):
        compile_schema(json.dumps(document).encode())


UNKNOWN = [
    {"format": "date"},
    {"patternProperties": {"^a": False}},
    {"unevaluatedProperties": False},
    {"$dynamicRef": "#/$defs/a", "$defs": {"a": False}},
    {"$ref": "https://example.invalid/schema"},
    {"$ref": "#/$defs/none"},
    {"pattern": "(a|a)*$"},
    {"pattern": r"^\\p{L}$"},
    {"uniqueItems": True},
]


@pytest.mark.parametrize("around", ["not", "oneOf", "if", "maxContains"])
@pytest.mark.parametrize("schema", UNKNOWN, ids=json.dumps)
def test_a_skipped_keyword_rejects_nothing(schema, around):
    """A keyword that is skipped makes no value invalid, also where a schema must not fit."""
    document = {
        "not": {"not": schema},
        "oneOf": {"oneOf": [True, schema]},
        "if": {"if": schema, "then": False, "else": {}},
        "maxContains": {"contains": schema, "maxContains": 0},
    }[around]
    value: Any = {"a": [1, 1.0]}
    if schema == {"uniqueItems": True}:
        value = value["a"]
    assert verdict(document, [value] if around == "maxContains" else value) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("pointer", "name"),
    [
        ("#/$defs/a~1b", "a/b"),
        ("#/$defs/a~0b", "a~b"),
        ("#/$defs/a%20b", "a b"),
        ("#/definitions/list/0", ""),
        ("#", ""),
    ],
)
def test_references_within_the_document(pointer, name):
    """A reference is a JSON Pointer in a URI fragment (RFC 6901 section 6)."""
    document = {"type": "object", "properties": {"x": {"$ref": pointer}}, "definitions": {"list": [{"type": "object"}]}}
    document["$defs"] = {name: {"type": "object"}}
    assert verdict(document, {"x": {}}) is Verdict.VALID
    assert verdict(document, {"x": 1}) is Verdict.INVALID


def test_another_base_of_references_is_invalid():
    """A schema with an `$id` within another would change the base of its references: it is not supported."""
    assert verdict({"$id": "https://example.com/", "type": "integer"}, "a") is Verdict.INVALID
    with pytest.raises(InvalidSchema):
        verdict({"items": {"$id": "other", "$ref": "#"}}, [])
